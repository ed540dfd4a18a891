"""From a study's run folders to what its report is made of; every number comes from ``predictions.csv``."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit import runs
from labkit.audit import in_caption
from labkit.data.catalog import facts
from labkit.evaluation.decide import decide
from labkit.evaluation.intervals import bootstrap_by_group, difference_by_group
from labkit.evaluation.metrics import evaluate, majority_baseline, majority_share
from labkit.params import RunParams, Study, load_study
from labkit.reporting.style import Palette

# Parameters that do not make two runs different variants: names, machine, and what follows from ``weights``.
NOT_A_FACTOR = {"weights", "study", "run", "seed", "parent", "device", "precision", "threads", "num_workers"}
AUGMENTATION = ("horizontal_flip", "vertical_flip", "rotation")


@dataclass(frozen=True)
class Comparison:
    """Two variants that differ in one thing: ``b - a`` of one metric on the same test images, with its interval."""

    a: str
    b: str
    factor: str  # the parameter that differs, or 'start' (from scratch or from weights)
    metric: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class StudyResults:
    """The finished runs of a study's comparison.

    ``runs``: one dict a run and seed, with ``run, seed, n``, every score of ``metrics.evaluate``, ``intervals``
    (metric: estimate, low, high), ``answers`` (share of its most frequent answer), ``minutes, images_per_second,
    parameters, flops, device, start, params``. ``tests``: each run's test predictions (its first seed), decided.
    ``history``: all runs' histories with ``run, seed, chosen``. ``unfinished``: the study's runs that are not finished,
    with their state and error. ``baseline``: the scores of always answering train's most frequent class.
    """

    study: Study
    runs: list[dict[str, Any]]
    tests: dict[str, pd.DataFrame]
    history: pd.DataFrame
    unfinished: pd.DataFrame
    baseline: dict[str, Any]
    majority: dict[str, float]  # split -> accuracy of always answering train's most frequent class
    classes: list[str]
    score: str
    palette: Palette
    stamps: list[str] = field(default_factory=list)

    @property
    def stamp(self) -> str:
        """What every caption must carry where test was leaked into or selected on; empty on an honest protocol."""
        return in_caption(self.stamps)

    @property
    def unit(self) -> str:
        """What intervals are drawn over: the data's groups, or images where those are unknown."""
        name = facts(self.runs[0]["params"].dataset).group_name
        return f"image ({name}s are unknown)" if self.runs[0]["n_without_group"] else name

    @property
    def majority_class(self) -> str:
        return self.classes[self.baseline["class"]]

    def comparisons(self) -> Iterator[Comparison]:
        """Every pair of variants that differs in just one factor, on the score and on accuracy (first seeds)."""
        params = {run["run"]: _factors(run["params"], run["start"]) for run in reversed(self.runs)}
        names = [name for name in self.study.runs if name in self.tests]
        for a, b in combinations(names, 2):
            differing = [key for key in params[a] if params[a][key] != params[b][key]]
            if len(differing) == 1:
                for metric in (self.score, "accuracy"):
                    row = _difference(self.tests[a], self.tests[b], len(self.classes)).loc[metric]
                    yield Comparison(a, b, differing[0], metric, row["difference"], row["low"], row["high"])


def collect(study_name: str) -> StudyResults:
    """Read a study's run folders; raises ValueError where none is finished or the runs do not belong together."""
    study = load_study(study_name)
    folders = runs.current_runs(study_name)
    compared = folders.loc[folders["run"].isin(study.runs)]
    order = {name: place for place, name in enumerate(study.runs)}
    compared = compared.sort_values(["run", "seed"], key=lambda c: c.map(order) if c.name == "run" else c)
    done = compared.loc[compared["state"] == "finished"]
    if done.empty:
        raise ValueError(
            f"study {study_name}: no run is finished and up to date; first: make report STUDY={study_name}"
        )
    results, tests, histories, labels, majority = [], {}, [], [], {}
    for folder in done["folder"]:
        result, test, history = _read_run(folder)
        majority = majority or result["majority"]
        results.append(result)
        histories.append(history)
        tests.setdefault(result["run"], test)
        labels.append(test.set_index("image_id").loc[:, "label"])
        if not labels[-1].equals(labels[0]):
            first_name = done["name"].tolist()[0]
            raise ValueError(f"{folder.name} was tested on other images than {first_name}; they cannot be compared")
    first = results[0]
    starts = {name: (study.defaults | keys).get("weights") for name, keys in study.runs.items()}
    train_labels = np.repeat(np.arange(len(first["classes"])), first["train_counts"])
    return StudyResults(
        study=study,
        runs=results,
        tests=tests,
        history=pd.concat(histories, ignore_index=True),
        unfinished=_unfinished(study, folders),
        majority=majority,
        baseline=majority_baseline(train_labels, labels[0], len(first["classes"])),
        classes=first["classes"],
        score=first["score"],
        palette=Palette.from_params([{"run": name, "weights": starts.get(name)} for name in study.runs]),
        stamps=list(dict.fromkeys(stamp for run in results for stamp in run["stamps"])),
    )


def _read_run(folder: Path) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """A run's facts and scores, its decided test predictions, and its history."""
    manifest, params = runs.read_json(folder / "run.json"), runs.read_params(folder)
    decided = decide(runs.read_predictions(folder))
    test = decided.loc[decided["split"] == "test"].sort_values("image_id", ignore_index=True)
    intervals = bootstrap_by_group(test["label"], test["prediction"], test["group"], len(manifest["classes"]))
    seconds = manifest["epoch_seconds"]
    answer = int(np.argmax(manifest["train_counts"]))
    labelled = decided.dropna(subset=["label"])
    given = {str(split): part["label"].to_numpy(np.int64) for split, part in labelled.groupby("split")}
    majority = {split: float((labels == answer).mean()) for split, labels in given.items()}
    result = manifest | evaluate(test, manifest["classes"])
    result |= {
        "params": params,
        "majority": majority | {"train": max(manifest["train_counts"]) / sum(manifest["train_counts"])},
        "intervals": intervals,
        "answers": majority_share(test),
        "minutes": sum(seconds) / 60,
        "images_per_second": manifest["n_images"]["train"] / float(np.median(seconds)),
    }
    history = pd.read_csv(folder / "history.csv").assign(run=manifest["run"], seed=manifest["seed"])
    history["chosen"] = history["epoch"] == manifest["best_epoch"]
    return result, test, history


def _unfinished(study: Study, folders: pd.DataFrame) -> pd.DataFrame:
    """Columns run, state, error: of the compared runs and of those they start from."""
    rows = []
    for name in [*study.sources, *study.runs]:
        mine = folders.loc[folders["run"] == name, ["folder", "name", "state"]]
        if mine.empty:
            rows.append({"run": name, "state": "not run", "error": ""})
        for folder, folder_name, state in mine.loc[mine["state"] != "finished"].itertuples(index=False):
            error = runs.read_json(folder / "run.json").get("error") or ""
            rows.append({"run": folder_name, "state": state, "error": error})
    return pd.DataFrame(rows, columns=["run", "state", "error"])


def _factors(params: RunParams, start: str) -> dict[str, Any]:
    """What may make a run a variant; what it starts from counts by what that was trained on, whatever its network."""
    factors = {key: value for key, value in params.model_dump().items() if key not in NOT_A_FACTOR}
    augmentation = tuple(factors.pop(key) for key in AUGMENTATION)  # "augmented or not" is one question
    return factors | {"start": start.rpartition("trained on ")[2], "augmentation": augmentation}


def _difference(a: pd.DataFrame, b: pd.DataFrame, n_classes: int) -> pd.DataFrame:
    return difference_by_group(
        a["label"],
        a["prediction"],
        b["prediction"],
        a["group"],
        n_classes,
        image_ids_a=a["image_id"],
        image_ids_b=b["image_id"],
    )
