"""A page for the reviewer: what the reporting guidelines ask for, filled from the runs' manifests and the audit.

CLAIM (Mongan, Moy, Kahn 2020, Radiology: Artificial Intelligence 2(2)), STARD-AI (2025) and TRIPOD+AI (Collins et al.
2024, BMJ 385:e078378) are named without their items' numbers, which differ by edition. What nothing here knows is said
to be not reported: a checklist that fills itself must not fill in what was never written down.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from labkit.data.catalog import CATALOG
from labkit.data.source import PHANTOMS
from labkit.format import listing, metric, millions, plural, whole, with_interval
from labkit.reporting.results import StudyResults
from labkit.reporting.tables import parameter_text

NOT_REPORTED = "not reported"
CHOICE = {"val": "validation images", "test": "test images, which are no longer unseen", "last": ""}
SPLIT = {"group": "by {group}", "image": "by image, whoever it is of", "given": "as the data came"}


def checklist(results: StudyResults, also: Mapping[str, str | None] | None = None) -> pd.DataFrame:
    """Columns item, guideline, reported; about thirty rows.

    `also`: what the report shows besides and only its notebook knows, by item, such as {"failure analysis": "…"}; None
    and "" mean not reported. Raises ValueError on an unknown item.
    """
    also = also or {}
    items = [*_DATA, *_MODEL, *_RESULTS]
    if unknown := set(also) - {name for name, _, _ in items}:
        raise ValueError(
            f"also: there is no item {', '.join(sorted(unknown))}; items: {', '.join(i[0] for i in items)}"
        )
    rows = [(name, guideline, also.get(name) or say(results) or NOT_REPORTED) for name, guideline, say in items]
    return pd.DataFrame(rows, columns=["item", "guideline", "reported"])


def checklist_sentence(table: pd.DataFrame) -> str:
    """How many items are reported, and which are not."""
    lacking = table.loc[table["reported"] == NOT_REPORTED, "item"].tolist()
    said = f"{whole(len(table) - len(lacking))} of {plural(len(table), 'item')} are reported"
    return f"{said}. Not reported: {'; '.join(lacking)}." if lacking else f"{said}."


Say = Callable[[StudyResults], str | None]


def _first(results: StudyResults) -> Mapping[str, Any]:
    return results.runs[0]


def _all(results: StudyResults, key: str) -> str | None:
    """A parameter's value, or all that the variants have."""
    return " or ".join(dict.fromkeys(parameter_text(getattr(run["params"], key)) for run in results.runs)) or None


def _unknown(results: StudyResults) -> None:
    return None


def _source(results: StudyResults) -> str | None:
    params = _first(results)["params"]
    if params.data in PHANTOMS:
        return f"{PHANTOMS[params.data]}, drawn by labkit; they depict nobody"
    known = CATALOG.get(params.dataset)
    return f"{known.source}; licence: {known.licence}" if known and known.source else None


def _preprocessing(results: StudyResults) -> str:
    crop = _all(results, "crop_size")
    cut = "" if crop == "none" else f", cropped to {crop} px"
    return f"square of {_all(results, 'image_size')} px{cut}; normalised: {_all(results, 'normalize')}"


def _left_out(results: StudyResults) -> str | None:
    count = _first(results).get("unreadable")
    return None if count is None else f"images that cannot be decoded and are left out: {whole(count)}"


def _in_order(part: tuple[str, int]) -> int:
    return ("train", "val", "test").index(part[0])


def _partitions(results: StudyResults) -> str:
    run = _first(results)
    parts = [f"{part} {plural(n, 'image')}" for part, n in sorted(run["n_images"].items(), key=_in_order)]
    of = f"; test shows {plural(run['n_groups'], results.group_name)}" if run["n_groups"] else ""
    split = SPLIT[run["params"].split].format(group=results.group_name if run["n_groups"] else "image")
    return f"{', '.join(parts)}, split {split}{of}"


def _disjoint(results: StudyResults) -> str | None:
    if found := _first(results).get("audit", {}).get("groups"):
        return found
    of_patients = ("share a", "are unknown", "have met")  # in the stamps' own words (labkit.audit.stamps)
    return "; ".join(stamp for stamp in results.stamps if any(words in stamp for words in of_patients)) or None


def _duplicates(results: StudyResults) -> str | None:
    return _first(results).get("audit", {}).get("duplicates")


def _networks(results: StudyResults) -> str:
    sizes = {
        run["params"].arch: f"{run['params'].arch} ({millions(run['parameters'])} parameters)" for run in results.runs
    }
    return listing(list(sizes.values()))


def _software(results: StudyResults) -> str | None:
    run = _first(results)
    names = [f"{name} {run['versions'][name]}" for name in ("python", "torch") if name in run.get("versions", {})]
    machine = [str(run[key]) for key in ("device", "precision") if run.get(key)]
    return ", ".join([*names, *machine]) or None


def _start(results: StudyResults) -> str | None:
    return (
        listing(list(dict.fromkeys(run["start"] for run in results.runs if run.get("start")))) if results.runs else None
    )


def _training(results: StudyResults) -> str:
    keys = ("loss", "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "weight_decay", "rotation")
    return ", ".join(f"{key.replace('_', ' ')} {_all(results, key)}" for key in keys)


def _imbalance(results: StudyResults) -> str:
    return f"class weights {_all(results, 'class_weights')}, sampling {_all(results, 'sampling')}"


def _choice(results: StudyResults) -> str:
    chosen = listing(list(dict.fromkeys(run["params"].select_on for run in results.runs)))
    if chosen == "last":
        return "the last epoch"
    return f"the epoch with the best {metric(results.score).name} on the {CHOICE.get(chosen, chosen)}"


def _looks(results: StudyResults) -> str | None:
    counts = sorted({run["test_predictions"] for run in results.runs if "test_predictions" in run})
    times = [plural(count, "time") for count in counts]
    return f"test was predicted {listing(times, 'or')} a run" if times else None


def _measures(results: StudyResults) -> str:
    return f"accuracy, {metric(results.score).name} and others, beside always answering {results.majority_class}"


def _uncertainty(results: StudyResults) -> str:
    return f"95 % intervals by bootstrap, drawn by {results.unit}; {results.n_seeds} a variant"


def _performance(results: StudyResults) -> str:
    best = results.of(results.best)
    intervals = best[0]["intervals"] if len(best) == 1 else results.over_seeds()[results.best]
    ends = intervals.loc[results.score, ["low", "high"]].tolist()
    value = with_interval(results.score, results.mean(results.best, results.score), *ends)
    return f"{metric(results.score).name} of {results.best}: {value}"


def _external(results: StudyResults) -> str:
    return "none: internal test only"


def _code(results: StudyResults) -> str | None:
    commit = _first(results).get("git_commit")
    return f"commit {commit}; parameters, predictions and weights of every run are kept" if commit else None


_DATA: list[tuple[str, str, Say]] = [
    ("objective", "CLAIM; STARD-AI; TRIPOD+AI", lambda results: results.study.question),
    ("intended use", "CLAIM; STARD-AI; TRIPOD+AI", lambda *_: "none: a lab report, not a medical device"),
    ("data source", "CLAIM; TRIPOD+AI", _source),
    ("eligibility of patients", "CLAIM; STARD-AI; TRIPOD+AI", _unknown),
    ("preprocessing", "CLAIM; TRIPOD+AI", _preprocessing),
    ("unreadable or missing data", "CLAIM; TRIPOD+AI", _left_out),
    ("reference standard", "CLAIM; STARD-AI", _unknown),
    ("annotators and their agreement", "CLAIM; TRIPOD+AI", _unknown),
    ("sample size calculation", "CLAIM; STARD-AI; TRIPOD+AI", _unknown),
    ("partitions", "CLAIM; STARD-AI", _partitions),
    ("disjoint patients", "CLAIM; STARD-AI", _disjoint),
    ("duplicate images", "CLAIM", _duplicates),
    ("age, sex and other characteristics", "CLAIM; STARD-AI; TRIPOD+AI", _unknown),
]
_MODEL: list[tuple[str, str, Say]] = [
    ("network", "CLAIM; TRIPOD+AI", _networks),
    ("software and machine", "CLAIM", _software),
    ("initial weights", "CLAIM", _start),
    ("training", "CLAIM; TRIPOD+AI", _training),
    ("class imbalance", "TRIPOD+AI", _imbalance),
    ("choice of the final model", "CLAIM", _choice),
    ("looks at the test images", "STARD-AI", _looks),
]
_RESULTS: list[tuple[str, str, Say]] = [
    ("measures and baseline", "CLAIM; TRIPOD+AI", _measures),
    ("uncertainty", "CLAIM; STARD-AI; TRIPOD+AI", _uncertainty),
    ("performance", "CLAIM; STARD-AI; TRIPOD+AI", _performance),
    ("decision threshold", "STARD-AI", _unknown),
    ("calibration", "TRIPOD+AI", _unknown),
    ("subgroups", "CLAIM; STARD-AI; TRIPOD+AI", _unknown),
    ("explanation", "CLAIM", _unknown),
    ("failure analysis", "CLAIM", _unknown),
    ("external test", "CLAIM; TRIPOD+AI", _external),
    ("code", "CLAIM; TRIPOD+AI", _code),
    ("registration, ethics and funding", "CLAIM; STARD-AI; TRIPOD+AI", _unknown),
]
