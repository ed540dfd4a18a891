"""What was done and from what it was made: the variants, their set-up, and the appendix of a report."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.data.source import PHANTOMS
from labkit.evaluation.metrics import metric
from labkit.format import listing, plural, whole
from labkit.reporting.exhibits.checklist import by_variant, choice_sentence, machine_sentence
from labkit.reporting.exhibits.classes import class_balance
from labkit.reporting.images import on_augmented_images
from labkit.reporting.learning import (
    choice_in_words,
    curve_quantities,
    curves_sentence,
    learning_curves,
    phase_sentences,
)
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.tables import parameters_table, runs_sentence, variants_sentence, variants_table

IGNORED = ("run", "study", "seed", "weights", "parent", "find_learning_rate")
SHARED = ("epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "schedule", "class_weights")
SHARED += ("image_size",)
PIXELS = (
    "Each image is decoded once to a square of 8-bit pixels. How it is augmented depends on seed, epoch and image "
    "alone, so a repeated run sees the same pixels."
)
NOT_KNOWN = (
    "How the models were trained, which images they have seen, how their epochs were chosen and how often the test "
    "images were predicted is not known."
)


def variants(results: StudyResults) -> Iterator[Exhibit]:
    """In what the variants differ, and what they share; of predictions made elsewhere what their files hold."""
    if not results.trained:
        yield from _files(results)
        return
    first, firsts = results.runs[0], results.firsts
    starts = {name: run["start"].partition(", trained on ")[0] for name, run in firsts.items()}  # on what: said below
    chosen = {name: run["params"].model_dump() | {"start": starts[name]} for name, run in firsts.items()}
    table = variants_table(chosen, IGNORED)
    images = "synthetic images" if first["params"].data in PHANTOMS else "images"
    of = f" of {plural(first['n_groups'], results.group_name)}" if first["n_groups"] else ""
    done = f"Trained on {whole(first['n_images']['train'])} {images}, tested on {whole(first['n'])} others{of}."
    text = f"{variants_sentence(table)} {done}"
    if (slugs := [run["slug"] for run in firsts.values()]) != list(firsts):
        table.insert(1, "run", slugs)
    if trained := by_variant(results, _learnt_before):
        text += f" The weights of variants that do not start from scratch were first trained on {trained}."
    yield Exhibit(table=table, caption="Parameters in which the variants differ", text=text)
    shared = [f"{key.replace('_', ' ')} {getattr(first['params'], key)}" for key in SHARED if key not in table]
    alike = f"All variants (what they start from may differ): {', '.join(shared)}."
    yield Exhibit(text=f"{choice_sentence(results)} {alike} {machine_sentence(results)} {PIXELS}")
    yield from class_balance(results)


def _files(results: StudyResults) -> Iterator[Exhibit]:
    rows, lines = [], [NOT_KNOWN]
    for run in results.runs:
        row = {"model": run["run"], "file": Path(run["source"]).name, "read": run["kind"]}
        rows.append(row | {f"{part} images": whole(len(run[part])) for part in ("val", "test")})
        lines += [f"{run['run']}: {note}." for note in run["notes"]]
    if not any(len(run["val"]) for run in results.runs):
        lines.append("Without a validation part no threshold and no temperature is fitted, and no model is chosen.")
    yield Exhibit(table=pd.DataFrame(rows), caption="The tables of predictions", text=" ".join(lines))


def _learnt_before(run: Mapping[str, Any]) -> str | None:
    """What the weights that a run starts from were trained on, where that is known."""
    return run["start"].partition("trained on ")[2] or ("ImageNet" if "IMAGENET" in run["start"] else None)


def curves(results: StudyResults) -> Iterator[Exhibit]:
    """How training went: the metric that the epoch is chosen by, and what stands out."""
    chosen_by = [run["params"].chosen_by(results.score) for run in results.runs]
    text = curves_sentence(results.history)
    on = on_augmented_images(run["params"] for run in results.runs)
    for quantity in curve_quantities(results.history, chosen_by):
        figure = learning_curves(results.history, results.palette, quantity=quantity, baseline=results.majority)
        trained = on if f"train_{quantity}" in results.history else ""  # kappa has no training curve
        caption = f"{metric(quantity).title} by epoch{trained}; rings mark {choice_in_words(chosen_by)}{results.stamp}"
        alt = f"Line plots: {metric(quantity).name} (y) by epoch (x), a line per variant; rings mark the chosen epochs."
        yield Exhibit(figure=figure, caption=caption, alt=alt)
    lines = phase_sentences(results.history)
    yield Exhibit(text=text)
    yield Exhibit(text="\n".join(f"- {line}" for line in lines))


def unfinished(results: StudyResults) -> Iterator[Exhibit]:
    """Runs that are missing in the comparison, and why."""
    if results.left_out:
        left = listing([f"{run} ({why})" for run, why in results.left_out.items()])
        yield Exhibit(text=f"Trained, but not compared: {left}.")
    if len(results.unfinished):
        caption = "Runs that are not finished and missing below; what they printed last: see the appendix"
        yield Exhibit(table=results.unfinished.drop(columns="log"), caption=caption)


def provenance(results: StudyResults) -> Iterator[Exhibit]:
    """What would be needed to make the report again."""
    first = results.runs[0]
    if not results.trained:
        table = pd.DataFrame([{"model": run["run"], "SHA-256": run["sha256"]} for run in results.runs])
        yield Exhibit(table=table, caption="The files that this report was made from, and their SHA-256")
        return
    ignored = [name for name in IGNORED if name != "weights"]
    table = parameters_table(_with_sources(results), type(first["params"])().model_dump(), ignored)
    caption = "Parameters that differ from their defaults: the value of most runs, then other values with their runs"
    yield Exhibit(table=table, caption=f"{caption}{results.of_first}")
    columns = ["slug", "seed", "best_epoch", "attempts", "test_predictions", "fingerprint"]
    table = pd.DataFrame(results.runs)[columns].assign(fingerprint=lambda rows: rows["fingerprint"].str[:12])
    caption = "Runs: the chosen epoch, how often each was started and test was predicted, and its fingerprint"
    table = table.rename(columns=lambda name: name.replace("_", " ").replace("slug", "run"))
    yield Exhibit(table=table, caption=caption, text=runs_sentence(results.runs))
    machine = {name: first[name] for name in ("machine", "device", "precision", "threads", "git_commit")}
    made_with = [f"{name.replace('_', ' ')} {value}" for name, value in (machine | first["versions"]).items()]
    yield Exhibit(text=f"The first run was made with: {', '.join(made_with)}.")


def _with_sources(results: StudyResults) -> dict[str, dict]:
    """The parameters of each variant and of the runs of the study that it starts from, which `weights` names."""
    found, waiting = {}, [run["params"] for run in results.firsts.values()]
    for params in waiting:
        source = results.sources.get(params.parent or "")
        found[params.run] = params.model_dump() | {"weights": f"run:{source.run}" if source else params.weights}
        waiting += [source] if source and source.run not in [*found, *results.study.runs] else []
    return found
