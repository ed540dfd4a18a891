"""``labkit external``: test a finished run on other images, with nothing fitted or chosen on them."""

import argparse
import re
from pathlib import Path

from labkit.commands import add_options, options, short
from labkit.data.source import as_parameters
from labkit.evaluation.intervals import bootstrap_by_group
from labkit.evaluation.metrics import metric, with_interval
from labkit.format import plural
from labkit.params import NAME, PATTERNS, DataParams, ParameterError
from labkit.runs.folder import read_manifest
from labkit.studies.external import External, predict_external, read_external, read_sidecar
from labkit.studies.find import find_run

EXAMPLE = "labkit external resnet18-scratch --data ../data/messidor --dataset custom --classes 'healthy=No DR'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, which images, and how they are read."""
    parser.add_argument("run", help="a finished run's name or folder")
    parser.add_argument("--study", help="study of the run, if its name alone does not tell")
    parser.add_argument("--data", required=True, help="folder of the images, or a built-in set of synthetic images")
    parser.add_argument("--name", help="what the files and the report call the set (default: the folder's name)")
    named = "for each class that the run calls otherwise, its name there and the run's"
    parser.add_argument("--classes", nargs="+", default=[], metavar="THEIRS=OURS", help=named)
    add_options(parser, DataParams, "data")


def main(arguments: argparse.Namespace) -> int:
    """Prints the score; raises ParameterError where a class of the images is none of the run's."""
    given = options(arguments, DataParams, "data")
    params = as_parameters(arguments.data, given.pop("dataset", None), **given)[0]
    pairs = [pair.partition("=") for pair in arguments.classes]
    if odd := [theirs for theirs, sign, ours in pairs if not (theirs and sign and ours)]:
        raise ParameterError(f"classes: got {odd[0]!r}; write THEIRS=OURS, in quotes where a name has spaces")
    name = arguments.name or Path(params.data).name
    if not re.fullmatch(NAME, name):
        raise ParameterError(f"name: got {name!r}, allowed: {PATTERNS[NAME]}")
    mapping = {theirs.strip(): ours.strip() for theirs, _, ours in pairs}
    external = External.of(params.model_dump() | {"classes": mapping or None})
    run = find_run(arguments.study, arguments.run)
    predict_external(run, name, external)
    manifest = read_manifest(run)
    n_classes = len(manifest["classes"])
    table = read_external(run, name, n_classes)
    sidecar = read_sidecar(run, name, manifest["fingerprint"])
    seen = [*sidecar["copies"], *sidecar["met"]]
    left = table.loc[~table["image_id"].isin(seen)]
    if left.empty:
        raise ParameterError(f"external set {name} ({params.data}): the run was trained on all of its images")
    row = bootstrap_by_group(left["label"], left["prediction"], left["group"], n_classes).loc[manifest["score"]]
    scored = with_interval(manifest["score"], row["estimate"], row["low"], row["high"])
    without = f"; without {plural(len(seen), 'image')} whose file or patient it has learnt from" if seen else ""
    print(f"{run.name} on {name}: {metric(manifest['score']).name} {scored}, {plural(len(left), 'image')}{without}")
    print(short(run / f"predictions-{name}.csv"))
    return 0
