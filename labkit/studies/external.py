"""External test sets: a finished run predicts other images, with all that it fitted on its own data left as it is.

A run folder then holds ``predictions-<name>.csv`` (a predictions table, split ``external``) and, beside it,
``external-<name>.json``: what it was made from, and which of the images the run may have learnt from. Gray of 16 bits
is brought to 8 by the range of this set, as in any set. torch is imported only to predict.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from labkit.data.catalog import CATALOG
from labkit.data.source import open_data
from labkit.evaluation.decide import decide, is_ordinal
from labkit.evaluation.ordinal import grade_cuts
from labkit.params import DataParams, ParameterError
from labkit.runs import files, folder
from labkit.runs.fingerprint import data_fingerprint, fingerprint_of

Opened = tuple[Any, pd.Series]  # images and hashes, as `open_data` gives it


class External(DataParams):
    """An external test set: where its images are, and which class of the runs each of its classes is."""

    classes: dict[str, str] | None = Field(None, description="its classes -> those of the runs, where names differ")


def predict_external(run: Path, name: str, external: External, opened: Opened | None = None) -> bool:
    """Write a finished run's predictions of the labelled images of a set; False if they are up to date.

    `opened`: the set's images, if they have been read. Ordinal cuts, thresholds and temperatures stay those of the
    run's own validation images: nothing is fitted here. ParameterError if a class is not one of the run's.
    """
    images, hashes = opened or open_data(external, folder.cache_root())
    manifest = folder.read_manifest(run)
    labels = mapped_labels(images, manifest["classes"], f"external set {name} ({external.data})", external.classes)
    made_from = [external.model_dump(), data_fingerprint(images, hashes), manifest["fingerprint"]]
    table = images.table.assign(label=labels, split="external").loc[labels.notna()].reset_index(drop=True)
    if read_sidecar(run, name, manifest["fingerprint"]).get("made_from") == (stamp := fingerprint_of(made_from)):
        return False
    if table.empty:
        raise ParameterError(f"external set {name} ({external.data}): it has no labelled image")
    predictions = _predict(run, table, hashes)
    sidecar = {"params": external.model_dump(), "made_from": stamp, "fingerprint": manifest["fingerprint"]}
    sidecar |= {"title": images.facts.title, "data": made_from[1], "n": len(predictions)}
    files.write_csv(run / f"predictions-{name}.csv", predictions)  # no lock: a notebook may hold a finished run's
    sidecar |= {"sha256": files.sha256(run / f"predictions-{name}.csv"), **_learnt(run, table, hashes, images)}
    files.write_json(run / f"external-{name}.json", sidecar)
    return True


def mapped_labels(images: Any, classes: list[str], where: str, mapping: Mapping[str, str] | None = None) -> pd.Series:
    """The images' labels (Int64) as numbers of the run's `classes`, by name; upper and lower case do not matter.

    `mapping`: names of the set -> names of the run. ParameterError, beginning with `where`, names a class of the set
    that has images and is none of the run's, or a name in the mapping that neither has.
    """
    plain = {_plain(theirs): ours for theirs, ours in (mapping or {}).items()}
    numbers = {_plain(name): number for number, name in enumerate(classes)}
    there, ours = ", ".join(images.facts.classes), ", ".join(classes)
    if wrong := [name for name in plain if name not in map(_plain, images.facts.classes)]:
        raise ParameterError(f"{where}: classes names {wrong[0]!r}, which is no class there; they are {there}")
    if wrong := [name for name in plain.values() if _plain(name) not in numbers]:
        raise ParameterError(f"{where}: classes names {wrong[0]!r}, which is no class of the run; they are {ours}")
    found: dict[int, int | None] = {}
    for number, name in enumerate(images.facts.classes):
        found[number] = numbers.get(_plain(plain.get(_plain(name)) or name))
        if found[number] is None and (images.table["label"] == number).any():
            cure = f"say which one it is, as in classes: {{{name}: {classes[0]}}}"
            raise ParameterError(f"{where}: its class {name!r} is none of the run's classes ({ours}); {cure}")
    return pd.Series([found.get(label) for label in images.table["label"]], images.table.index, "Int64")


def _plain(name: str) -> str:
    return " ".join(str(name).split()).lower()


def _predict(run: Path, table: pd.DataFrame, hashes: pd.Series) -> pd.DataFrame:
    """The predictions table of the images that can be decoded; without augmentation, whatever the run's test had."""
    from labkit.data.loaders import make_loaders  # these take seconds
    from labkit.data.store import build_store
    from labkit.models.build import load_trained
    from labkit.training.device import set_up
    from labkit.training.predict import predict, predictions_table, prepare

    params = folder.read_params(run).model_copy(update={"num_processes": 1, "augment_test": False})
    try:
        accelerator = set_up(params)
    except ParameterError:  # the run's device is not there
        accelerator = set_up(params.model_copy(update={"device": "auto", "precision": "auto"}))
    store = build_store(table, hashes, params.image_size, folder.cache_root())
    parts = {"external": store.keep_readable(table).reset_index(drop=True)}
    loader = make_loaders(parts["external"], store, params, accelerator.device.type)["external"]
    model = prepare(accelerator, load_trained(run))
    return predictions_table(parts, {"external": predict(model, loader, params.normalize)})


def _learnt(run: Path, table: pd.DataFrame, hashes: pd.Series, images: Any) -> dict[str, list[str]]:
    """Image ids of what trained the run (or one it started from), or chose its epoch: `copies` by SHA-256, `met` by
    patient.

    Numbers of patients are compared within one data set of the catalog only: elsewhere they mean other people.
    """
    learnt = files.read_csv(run / "learnt_from.csv", dtype="string")
    copies = table["image_id"].map(hashes.to_dict().get).isin(learnt["sha256"].dropna()).astype(bool)
    known = images.facts.name in CATALOG
    met = (images.facts.title + "/" + table["group"].astype("string")).isin(learnt["group"].dropna()).astype(bool)
    met &= known & ~copies
    return {"copies": table.loc[copies, "image_id"].tolist(), "met": table.loc[met, "image_id"].tolist()}


def read_sidecar(run: Path, name: str, fingerprint: str) -> dict[str, Any]:
    """``external-<name>.json``; {} unless this run wrote it and the predictions beside it are as it wrote them."""
    try:
        sidecar = files.read_json(run / f"external-{name}.json")
    except ValueError:  # damaged: it is made again
        return {}
    table = run / f"predictions-{name}.csv"
    whole = table.is_file() and files.sha256(table) == sidecar.get("sha256")
    return sidecar if whole and sidecar.get("fingerprint") == fingerprint else {}


def read_external(run: Path, name: str, n_classes: int) -> pd.DataFrame:
    """The decided predictions of an external set, by image_id; grades are cut as on the run's own validation."""
    predictions = folder.read_predictions(run, f"predictions-{name}.csv")
    cuts = grade_cuts(folder.read_predictions(run), n_classes) if is_ordinal(predictions) else None
    return decide(predictions, n_classes, cuts).sort_values("image_id").reset_index(drop=True)
