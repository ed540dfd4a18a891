"""What a report is made of, from a study's run folders; every score is computed from ``predictions.csv``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.audit import LeakEffect, in_caption, leak_effect
from labkit.data.catalog import facts_of
from labkit.evaluation import compare
from labkit.evaluation.decide import decide
from labkit.evaluation.intervals import DRAWN, TOO_FEW, auroc_draws, auroc_intervals, bootstrap_by_group
from labkit.evaluation.matrices import sensitivity
from labkit.evaluation.metrics import as_frequent, confusion, evaluate, majority_baseline, majority_share
from labkit.format import listing, missing, plural
from labkit.params import RunParams
from labkit.reporting.images import Pixels, open_pixels, pictures
from labkit.reporting.runs_table import unfinished
from labkit.reporting.style import Palette
from labkit.runs.files import read_csv, read_json
from labkit.runs.folder import read_params, read_predictions
from labkit.studies.external import read_external, read_sidecar
from labkit.studies.file import HONEST, Study
from labkit.studies.find import current_runs, out_of_date, study_of_runs

# Parameters that do not make two runs different variants: names, machine, and what follows from ``weights``.
NOT_A_FACTOR = {"weights", "study", "run", "seed", "parent", "head", "device", "precision", "threads", "num_workers"}
NOT_A_FACTOR |= {"num_processes", "find_learning_rate"}  # the latter: a look before training, which changes nothing
# One question asked with several parameters.
TOGETHER = {
    "augmentation": ("horizontal_flip", "vertical_flip", "rotation"),
    "resolution": ("image_size", "crop_size"),
    "schedule": ("schedule", "step_size", "gamma"),
    "training images": ("train_on", "select_on"),  # nothing is left to choose on once validation is learnt from
}
# What a report sets anew with every network or start: said beside the comparison, and compared only by itself.
RECIPE = ("epochs", "batch_size", "learning_rate", "schedule")
MOST_CLASSES = 20  # panels of a figure that can be read
UNLABELLED = "the test images have no labels: “test” means those of validation here, by which the epoch was chosen"


@dataclass(frozen=True)
class Comparison:
    """Two variants that differ in one thing: ``b - a`` of one metric, a row of `compare.simultaneous_differences`."""

    a: str
    b: str
    factor: str  # the parameter that differs, or one of TOGETHER, or 'start' (from scratch or from weights)
    metric: str
    difference: float
    low: float
    high: float
    also: tuple[tuple[str, Any, Any], ...] = ()  # of the recipe: what, in a, in b
    p: float = float("nan")  # exact McNemar, which is about accuracy: NaN for any other metric
    p_holm: float = float("nan")  # corrected for all pairs of the study
    groups: int = compare.FEWEST  # this and the next as in `compare.paired_difference`
    differing: int = compare.DIFFERING
    seeds: int = 1

    def reverse(self) -> "Comparison":
        """The same pair, told as ``a - b``."""
        ends = {"difference": -self.difference, "low": -self.high, "high": -self.low}
        also = tuple((key, in_b, in_a) for key, in_a, in_b in self.also)
        return replace(self, a=self.b, b=self.a, also=also, **ends)

    @property
    def verdict(self) -> compare.Verdict:
        """What may be said of b against a; without an interval no more than of too few images."""
        return "too few" if missing(self.low) and self.differing else compare.verdict(vars(self))


@dataclass(frozen=True, eq=False)  # of one object, what was computed once is found again (`functools.cache`)
class StudyResults:
    """The finished runs of a study's comparison.

    ``runs``: one dict a run and seed, with ``run`` (its label), ``slug, seed, n``, every score of ``metrics.evaluate``,
    ``intervals`` (metric: estimate, low, high), ``sensitivity_intervals`` (the same by class), ``test`` (its decided
    test predictions), ``majority_share`` (of its most frequent prediction), ``minutes, images_per_second,
    milliseconds, parameters, flops, file_mb, device, start, params``.
    ``honest``: the same of the runs that were made a second time with patients kept apart, one dict a seed by the name
    of the run that they repeat; their test images are others. ``left_out``: finished runs that cannot be compared, why.
    ``val`` is like ``test``, without a row where there is no validation part; ``val_score`` is its score, or NaN.
    ``history``: all runs' histories with ``run, seed, chosen``. ``unfinished``: the study's runs that are not finished,
    with their state, error and the end of what they printed. ``baseline``: the scores of always predicting train's most
    frequent class. ``shown``: items of the checklist that an exhibit has reported. ``trained``: False of predictions
    made elsewhere (`judged`), whose runs have none of what a manifest says; ``images``: the folder of their pictures.
    ``external``: external test set -> variant -> its decided predictions there, one table per seed (`_external`).
    """

    study: Study
    runs: list[dict[str, Any]]
    history: pd.DataFrame
    unfinished: pd.DataFrame
    baseline: dict[str, Any]
    majority: dict[str, float]  # split -> accuracy of always predicting train's most frequent class
    classes: list[str]
    score: str
    palette: Palette
    honest: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    stamps: list[str] = field(default_factory=list)
    sources: dict[str, RunParams] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    trained: bool = True
    images: Path | None = None
    external: dict[str, dict[str, list[pd.DataFrame]]] = field(default_factory=dict)

    @property
    def firsts(self) -> dict[str, dict[str, Any]]:
        """Each variant's run of the first seed, in the order of the study."""
        found: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            found.setdefault(run["run"], run)
        return found

    @property
    def tests(self) -> dict[str, pd.DataFrame]:
        """The decided test predictions of each variant's first seed."""
        return {name: run["test"] for name, run in self.firsts.items()}

    @property
    def stamp(self) -> str:
        """What every caption must carry where test was leaked into or selected on; empty on an honest protocol."""
        return in_caption(self.stamps)

    @property
    def scored(self) -> str:
        """The part of the data that is scored: test, or validation where no test image has a label."""
        return self.runs[0].get("scored", "test")

    @property
    def of_first(self) -> str:
        """What a caption says of what is not a mean over seeds, where there are several."""
        return ", first seed" if len(self.runs) > len(self.tests) else ""

    @property
    def drawn_over(self) -> str:
        """What the draws of intervals are over: `unit`, and seeds where there are several."""
        return f"{self.unit} and seed" if self.of_first else self.unit

    @property
    def once(self) -> str:
        """`of_first` and `stamp`."""
        return f"{self.of_first}{self.stamp}"

    @cached_property
    def matrices(self) -> dict[str, np.ndarray]:
        """The confusion matrix of each variant's first seed: rows true, columns predicted."""
        return {name: confusion(test, len(self.classes)) for name, test in self.tests.items()}

    @cached_property
    def pixels(self) -> Pixels | None:
        """The images of the chosen variant, as its network saw them; of predictions alone, those in `images`."""
        if self.trained:
            return open_pixels(self.firsts[self.chosen]["params"])
        return pictures(self.images, self.tests[self.chosen]["image_id"].tolist()) if self.images else None

    @property
    def unit(self) -> str:
        """What intervals are drawn over: the data's groups, or images where those are unknown."""
        first, name = self.runs[0], self.group_name
        if not first["n_without_group"]:
            return name
        return f"{name}, or image where it is unknown" if first["n_groups"] else f"image ({name}s are unknown)"

    @property
    def group_name(self) -> str:
        """What one group of the data is: a patient, a subject."""
        return facts_of(self.runs[0]["params"]).group_name

    @property
    def chosen(self) -> str:
        """The variant that the report talks about: the highest mean score on validation, so that test plays no part.

        The first of equal ones; the first row of the study's table where no variant has validation images.
        """
        reached = {name: mean for name in self.tests if not missing(mean := self.mean(name, "val_score"))}
        return max(reached, key=reached.__getitem__, default=next(iter(self.tests)))

    @property
    def by_chosen(self) -> str:
        """', by a (best on validation)', for captions about one variant; ', by a' where there is no other."""
        best = self.mean(self.chosen, "val_score")
        equal = sum(self.mean(name, "val_score") == best for name in self.tests) > 1
        how = "the first of equally good ones on validation" if equal else "best on validation"
        how = "shown because it is the first: no validation images to choose by" if missing(best) else how
        return f", by {self.chosen}" + (f" ({how})" if len(self.tests) > 1 else "")

    @property
    def rare_classes(self) -> list[str]:
        """The classes that have test images, but too few to say how well they are found."""
        counts = np.bincount(self.runs[0]["test"]["label"], minlength=len(self.classes))
        return [name for name, count in zip(self.classes, counts, strict=True) if 0 < count < TOO_FEW]

    @property
    def drawn_classes(self) -> list[str]:
        """The classes that figures draw one by one: all, or of more than MOST_CLASSES those with most test images."""
        counts = np.bincount(self.runs[0]["test"]["label"], minlength=len(self.classes))
        most = set(np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist())
        return [name for number, name in enumerate(self.classes) if number in most]

    @property
    def of_classes(self) -> str:
        """What a caption says where not all classes are drawn."""
        many = len(self.classes) > MOST_CLASSES
        return f"; the {MOST_CLASSES} classes of {len(self.classes)} with the most test images" if many else ""

    @property
    def n_seeds(self) -> str:
        """'1 seed', '3 seeds', or '1 to 3 seeds' where variants differ in how many they have."""
        numbers = sorted({len(self.seeds(name)) for name in self.tests})
        return plural(numbers[0], "seed") if len(numbers) == 1 else f"{numbers[0]} to {plural(numbers[-1], 'seed')}"

    def mean(self, name: str, key: str) -> float:
        """A number of a variant, such as a score: the mean over its seeds."""
        return float(np.mean([run[key] for run in self.of(name)]))

    def over_seeds(self) -> dict[str, pd.DataFrame]:
        """Of each variant with several seeds: low and high of its mean scores, one row per metric."""
        return {name: intervals_over_seeds(mine) for name in self.tests if len(mine := self.of(name)) > 1}

    def of(self, name: str) -> list[dict[str, Any]]:
        """The runs of a variant, one a seed."""
        return [run for run in self.runs if run["run"] == name]

    @property
    def majority_class(self) -> str:
        """The name of train's most frequent class, the prediction of the baseline."""
        return self.classes[self.baseline["class"]]

    @property
    def as_frequent(self) -> list[str]:
        """`as_frequent` of the first run's training images."""
        return as_frequent(self.runs[0]["train_counts"], self.classes)

    def seeds(self, name: str) -> list[pd.DataFrame]:
        """The decided test predictions of each seed of a run."""
        return [run["test"] for run in self.of(name)]

    @cached_property
    def against_majority(self) -> dict[str, pd.DataFrame]:
        """Of each variant, how it differs from always predicting train's most frequent class, one row per metric."""
        answer, n_classes = self.baseline["class"], len(self.classes)
        return {name: compare.against_constant(self.seeds(name), answer, n_classes) for name in self.tests}

    @cached_property
    def differences(self) -> pd.DataFrame:
        """`compare.simultaneous_differences` of all variants, on the score and on accuracy."""
        metrics, variants = {self.score: 0, "accuracy": 0}, {name: self.seeds(name) for name in self.tests}
        return compare.simultaneous_differences(variants, list(metrics), len(self.classes))

    def leak_effects(self) -> dict[str, LeakEffect]:
        """Of each run of which a part of test is leaked: that part against the clean one, means over seeds."""
        found = {}
        for name in self.tests:
            first, *others = self.seeds(name)
            if effect := leak_effect(first, self.of(name)[0]["touched"], len(self.classes), *others):
                found[name] = effect
        return found

    def comparisons(self) -> Iterator[Comparison]:
        """Every pair of variants that differs in just one factor, on the score and on accuracy (means over seeds).

        Besides that factor the recipe may differ, since a report that trains ResNet-50 for fewer epochs than ResNet-18
        compares the two all the same. A run that goes on from the other's weights with more images differs in these.
        The p values of accuracy are of the first seeds, and corrected for all these pairs.
        """
        pairs = list(self._pairs())
        corrected = compare.holm([pair.p for pair in pairs])
        return (replace(pair, p_holm=float(p)) for pair, p in zip(pairs, corrected, strict=True))

    def _pairs(self) -> Iterator[Comparison]:
        first = self.firsts
        if not self.trained:
            yield from (one for a, b in combinations(first, 2) for one in self._compare(a, b, "model"))
            return
        params = {name: _factors(run["params"], run["start"]) for name, run in first.items()}
        for a, b in combinations(params, 2):
            differing = [key for key in params[a] if params[a][key] != params[b][key]]
            factors = [key for key in differing if key not in RECIPE] or differing
            if first[b]["params"].parent == first[a]["fingerprint"] and "training images" in factors:
                factors.remove("start")
            if _deviation_needs_depth(params[a], params[b]):
                factors.remove("deviation")
            if "start" in factors and "freeze_epochs" in factors:  # from scratch there is nothing to freeze
                factors.remove("freeze_epochs")
            if len(factors) == 1:
                also = tuple((key, params[a][key], params[b][key]) for key in differing if key != factors[0])
                also += self._sources_differ(first[a]["params"], first[b]["params"])
                yield from self._compare(a, b, factors[0], also)

    def _compare(self, a: str, b: str, factor: str, also: Any = ()) -> Iterator[Comparison]:
        p = compare.mcnemar(self.tests[a], self.tests[b])
        for metric, p_value in ((self.score, float("nan")), ("accuracy", p)):
            yield Comparison(a, b, factor, metric, also=also, p=p_value, **self.differences.loc[(a, b, metric)])

    def _sources_differ(self, a: RunParams, b: RunParams) -> tuple[tuple[str, Any, Any], ...]:
        """What of the recipe differs between the runs of this study that the two start from, if both start from one."""
        of_a, of_b = (self.sources.get(params.parent or "") for params in (a, b))
        if of_a is None or of_b is None:
            return ()
        pairs = {f"{key} of the source": (getattr(of_a, key), getattr(of_b, key)) for key in RECIPE}
        return tuple((name, *values) for name, values in pairs.items() if values[0] != values[1])


def study_results(study_name: str, runs: Sequence[str] | None = None) -> StudyResults:
    """Read a study's run folders; raises ValueError where none is finished and has a labelled test image."""
    study = study_of_runs(study_name)
    if runs:  # those of one set of test images (`Study.test_sets`)
        study = study.model_copy(update={"runs": {name: study.runs[name] for name in runs}})
    folders = current_runs(study_name)
    compared = folders.loc[folders["run"].isin(study.runs)]
    order = {name: place for place, name in enumerate(study.runs)}
    compared = compared.sort_values(["run", "seed"], key=lambda c: c.map(order) if c.name == "run" else c)
    done = compared.loc[compared["state"] == "finished"]
    if done.empty:
        cure = f"make report STUDY={study_name}"
        raise ValueError(f"study {study_name}: no run is finished and up to date; first: {cure}")
    return _results(study, list(done["folder"]), folders)


def run_results(folder: Path) -> StudyResults:
    """The same of one finished run, from its folder alone."""
    run = read_json(folder / "run.json")
    study = Study(name=run["study"], title="", question="", runs={run["run"]: {}})
    return _results(study, [folder], pd.DataFrame(columns=["run", "seed", "name", "folder", "state"]))


def _results(study: Study, done: Sequence[Path], folders: pd.DataFrame) -> StudyResults:
    results, histories, labels, left_out = [], [], pd.Series(), {}
    for folder in done:
        result, test, history = _read_run(folder, study)
        if test.empty:
            left_out[folder.name] = "without a labelled test image"
            continue
        of_run = test.set_index("image_id").loc[:, "label"]
        if not results:
            labels = of_run
        elif not of_run.equals(labels):
            left_out[folder.name] = f"tested on other images than {results[0]['run']}, or with other labels"
            continue
        results.append(result)
        histories.append(history)
    if not results:
        raise ValueError(f"study {study.name}: no finished run has a labelled test image; there is nothing to compare")
    first = results[0]
    starts = {study.labels[name]: (study.defaults | keys).get("weights") for name, keys in study.runs.items()}
    scratch = [name for name, start in starts.items() if start in (None, "", "none")]
    train_labels = np.repeat(np.arange(len(first["classes"])), first["train_counts"])
    return StudyResults(
        study=study,
        runs=results,
        history=pd.concat(histories, ignore_index=True),
        unfinished=unfinished(study, folders),
        majority=first["majority"],
        baseline=majority_baseline(train_labels, labels, len(first["classes"]), facts_of(first["params"]).task),
        classes=first["classes"],
        score=first["score"],
        palette=Palette(starts, dashed=scratch),
        external=_external(study, done, left_out),
        honest=_honest(study, folders),
        left_out=left_out,
        sources={
            read_json(folder / "run.json")["fingerprint"]: read_params(folder)
            for folder in folders.loc[folders["state"] == "finished", "folder"]
        },
        stamps=(out_of_date(study.name) if len(folders) else []) + _stamps(results),
    )


def _stamps(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The stamps of all runs; one that not all variants bear names those that do, or the few that do not."""
    names, found = list(dict.fromkeys(run["run"] for run in runs)), []
    for stamp in dict.fromkeys(stamp for run in runs for stamp in run["stamps"]):
        of = dict.fromkeys(run["run"] for run in runs if stamp in run["stamps"])
        free = [name for name in names if name not in of]
        who = f"all variants but {listing(free)}" if len(free) < len(of) else listing(list(of))
        found.append(f"{stamp} ({who})" if free else stamp)
    return found


def _read_run(folder: Path, study: Study) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """A run's facts and scores, its decided test predictions (of validation if test has no labels), and its history."""
    manifest, params = read_json(folder / "run.json"), read_params(folder)
    manifest["slug"] = slug = manifest["run"]
    manifest["run"] = study.labels.get(slug, slug)
    decided = decide(read_predictions(folder), len(manifest["classes"]))
    if "val" in set(decided["split"]) and "test" not in set(decided["split"]):
        decided = decided.replace({"split": {"val": "test"}})
        said = UNLABELLED if params.select_on == "val" else UNLABELLED.partition(", by ")[0]
        manifest |= {"scored": "validation", "stamps": [*manifest["stamps"], said]}
    ordered = decided.sort_values("image_id")
    test, val = (ordered.loc[ordered["split"] == split].reset_index(drop=True) for split in ("test", "val"))
    if test.empty:
        return manifest, test, pd.DataFrame()
    # Whether the run has learnt from a test image's group, its parents' training included.
    met = read_csv(folder / "learnt_from.csv", dtype="string")["group"].dropna()
    touched = (manifest["source"] + "/" + test["group"]).isin(met).astype(bool)
    touched |= test["image_id"].isin(manifest.get("audit", {}).get("copies", []))
    seconds = manifest["epoch_seconds"]
    result = manifest | scored(test, val, decided, manifest | {"params": params})
    result |= {
        "params": params,
        "touched": touched.set_axis(test["image_id"]),
        "minutes": sum(seconds) / 60,
        "images_per_second": sum(manifest["drawn_counts"]) / float(np.median(seconds)),
        "file_mb": (folder / "model.safetensors").stat().st_size / 1e6,
    }
    history = read_csv(folder / "history.csv").assign(run=manifest["run"], seed=manifest["seed"])
    history["chosen"] = history["epoch"] == manifest["best_epoch"]
    return result, test, history


def scored(test: pd.DataFrame, val: pd.DataFrame, decided: pd.DataFrame, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from predictions alone, `facts` being the run's classes, score, train_counts and params.

    `decided`: all rows, of which `test` and `val` are the labelled ones of these splits.
    """
    classes, task, counts = facts["classes"], facts_of(facts["params"]).task, facts["train_counts"]
    wanted = DRAWN | {f"of class {name}": sensitivity(number) for number, name in enumerate(classes)}
    drawn = bootstrap_by_group(test["label"], test["prediction"], test["group"], len(classes), metrics=wanted)
    intervals, sensitivities = (
        part.set_axis(pd.Index(names, name="metric"))
        for part, names in ((drawn.iloc[: len(DRAWN)], list(DRAWN)), (drawn.iloc[len(DRAWN) :], classes))
    )
    if "p_0" in test:
        intervals = pd.concat([intervals, auroc_intervals(test, classes, task)])
    labelled, answer = decided.dropna(subset=["label"]), int(np.argmax(counts))
    given = {str(split): part["label"].to_numpy(np.int64) for split, part in labelled.groupby("split")}
    majority = {split: float((labels == answer).mean()) for split, labels in given.items()}
    return evaluate(test, classes, task) | {
        "test": test,
        "val": val,
        "val_score": evaluate(val, classes, task)[facts["score"]] if len(val) else float("nan"),
        "majority": majority | {"train": max(counts) / sum(counts)},
        "intervals": intervals,
        "sensitivity_intervals": sensitivities,
        "majority_share": majority_share(test),
    }


def _honest(study: Study, folders: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """The runs made a second time under the honest protocol, one a seed, by the run that they repeat."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in study.runs:
        mine = folders.loc[(folders["run"] == name + HONEST) & (folders["state"] == "finished")]
        for folder in mine.sort_values("seed")["folder"]:
            result, test, _ = _read_run(folder, study)
            if len(test):
                found.setdefault(study.labels[name], []).append(result)
    return found


def _external(study: Study, done: Sequence[Path], left_out: Mapping[str, str]) -> dict[str, Any]:
    """Of each external set the decided predictions by variant, without the images that any of the runs was trained on.

    ``attrs["seen"]``: how many those are. A run that has not predicted the images of the first one is left out.
    """
    found: dict[str, dict[str, list[pd.DataFrame]]] = {}
    for name, external in study.external_sets().items():
        tables, seen, data = [], set[str](), None
        for folder in [folder for folder in done if folder.name not in left_out]:
            manifest = read_json(folder / "run.json")
            sidecar = read_sidecar(folder, name, manifest["fingerprint"])
            if sidecar.get("params") != external.model_dump() or sidecar["data"] != (data := data or sidecar["data"]):
                continue
            seen |= {*sidecar["copies"], *sidecar["met"]}
            label = study.labels[manifest["run"]]
            tables.append((label, read_external(folder, name, len(manifest["classes"]))))
        for label, table in tables:
            kept = table.loc[~table["image_id"].isin(list(seen))].reset_index(drop=True)
            kept.attrs["seen"] = len(table) - len(kept)
            if len(kept):
                found.setdefault(name, {}).setdefault(label, []).append(kept)
    return found


def _factors(params: RunParams, start: str) -> dict[str, Any]:
    """What may make a run a variant; what it starts from counts by what that was trained on, whatever its network."""
    values = params.model_dump()
    if params.schedule != "step":  # what it does not use is no difference
        values |= {"step_size": None, "gamma": None}
    joined = {name: tuple(values.pop(key) for key in keys) for name, keys in TOGETHER.items()}
    factors = {key: value for key, value in values.items() if key not in NOT_A_FACTOR}
    return factors | joined | {"start": start.rpartition("trained on ")[2]}


def _deviation_needs_depth(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """A deviation of bottlenecks beside a network that has none: it comes with the depth and is said besides."""
    shallow = [one for one in (a, b) if one["arch"] in ("resnet18", "resnet34")]
    return len(shallow) == 1 and {a["deviation"], b["deviation"]} == {"none", "linear_bottleneck"}


def intervals_over_seeds(mine: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`mean_of_seeds` of the runs of one variant, with AUROCs where it gives probabilities; of one run its own."""
    if len(mine) == 1:
        return mine[0]["intervals"]
    tests, classes = [run["test"] for run in mine], mine[0]["classes"]
    task = facts_of(mine[0]["params"]).task
    aurocs = [auroc_draws(test, classes, task) for test in tests] if "p_0" in tests[0] else []
    return compare.mean_of_seeds(tests, len(classes), aurocs)
