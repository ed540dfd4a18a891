"""A page for the reviewer: what the reporting guidelines ask for, filled from the runs' manifests and the audit.

CLAIM (Mongan, Moy, Kahn 2020, Radiology: Artificial Intelligence 2(2)), STARD-AI (2025) and TRIPOD+AI (Collins et al.
2024, BMJ 385:e078378) are named without their items' numbers, which differ by edition. What is not
known here is called not reported: a checklist that fills itself must not fill in what was never written down.
"""

from collections.abc import Mapping

import pandas as pd

from labkit.data.catalog import CATALOG
from labkit.data.source import PHANTOMS
from labkit.format import listing, metric, millions, plural, whole, with_interval
from labkit.reporting.results import StudyResults, intervals_over_seeds
from labkit.reporting.tables import parameter_text

NOT_REPORTED = "not reported"
CHOICE = {"val": "validation images", "test": "test images, which are no longer unseen"}
SPLIT = {"group": "by {group}", "image": "by image, whichever {group} it is of", "given": "as the data came"}


def checklist(results: StudyResults, also: Mapping[str, str | None]) -> pd.DataFrame:
    """Columns item, guideline, reported; about thirty rows.

    `also`: what the report shows besides and only its notebook knows, by item, such as {"failure analysis": "…"}; None
    and "" mean not reported. Raises ValueError on an unknown item.
    """
    rows = [*_data(results), *_model(results), *_results(results)]
    items = [item for item, _, _ in rows]
    if unknown := set(also) - set(items):
        raise ValueError(f"also: there is no item {', '.join(sorted(unknown))}; items: {', '.join(items)}")
    rows = [(item, guideline, also.get(item) or text or NOT_REPORTED) for item, guideline, text in rows]
    return pd.DataFrame(rows, columns=["item", "guideline", "reported"])


def checklist_sentence(table: pd.DataFrame) -> str:
    """How many items are reported, and which are not."""
    lacking = table.loc[table["reported"] == NOT_REPORTED, "item"].tolist()
    said = f"{whole(len(table) - len(lacking))} of {plural(len(table), 'item')} are reported"
    return f"{said}. Not reported: {'; '.join(lacking)}." if lacking else f"{said}."


Rows = list[tuple[str, str, str | None]]


def _data(results: StudyResults) -> Rows:
    run, group = results.runs[0], results.group_name
    params, audit = run["params"], run.get("audit", {})
    known = CATALOG.get(params.dataset)
    source = f"{known.source}; licence: {known.licence}" if known and known.source else None
    if params.data in PHANTOMS:
        source = f"{PHANTOMS[params.data]}, drawn by labkit; they depict nobody"
    crop, unreadable = _all(results, "crop_size"), run.get("unreadable")
    cut = "" if crop == "none" else f", cropped to {crop} px"
    preprocessing = f"square of {_all(results, 'image_size')} px{cut}; normalised: {_all(results, 'normalize')}"
    left_out = f"images that cannot be decoded and are left out: {whole(unreadable)}"
    sizes = run["n_images"]
    parts = [f"{part} {plural(sizes[part], 'image')}" for part in ("train", "val", "test") if part in sizes]
    of = f"; test shows {plural(run['n_groups'], group)}" if run["n_groups"] else ""
    split = SPLIT[params.split].format(group=group if run["n_groups"] else "image")
    of_patients = ("share a", "are unknown", "have met")  # in the stamps' own words (labkit.audit.stamps)
    stamped = "; ".join(stamp for stamp in results.stamps if any(words in stamp for words in of_patients))
    return [
        ("objective", "CLAIM; STARD-AI; TRIPOD+AI", results.study.question),
        ("intended use", "CLAIM; STARD-AI; TRIPOD+AI", "none: a lab report, not a medical device"),
        ("data source", "CLAIM; TRIPOD+AI", source),
        ("eligibility of patients", "CLAIM; STARD-AI; TRIPOD+AI", None),
        ("preprocessing", "CLAIM; TRIPOD+AI", preprocessing),
        ("unreadable or missing data", "CLAIM; TRIPOD+AI", None if unreadable is None else left_out),
        ("reference standard", "CLAIM; STARD-AI", None),
        ("annotators and their agreement", "CLAIM; TRIPOD+AI", None),
        ("sample size calculation", "CLAIM; STARD-AI; TRIPOD+AI", None),
        ("partitions", "CLAIM; STARD-AI", f"{', '.join(parts)}, split {split}{of}"),
        ("disjoint patients", "CLAIM; STARD-AI", audit.get("groups") or stamped),
        ("duplicate images", "CLAIM", audit.get("duplicates")),
        ("age, sex and other characteristics", "CLAIM; STARD-AI; TRIPOD+AI", None),
    ]


def _model(results: StudyResults) -> Rows:
    run = results.runs[0]
    sizes = {r["params"].arch: f"{r['params'].arch} ({millions(r['parameters'])} parameters)" for r in results.runs}
    software = [f"{name} {run['versions'][name]}" for name in ("python", "torch") if name in run.get("versions", {})]
    machines = [", ".join(str(r[key]) for key in ("device", "precision") if r.get(key)) for r in results.runs]
    software += [" or ".join(dict.fromkeys(filter(None, machines)))] if any(machines) else []
    keys = ("loss", "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "weight_decay", "rotation")
    training = ", ".join(f"{key.replace('_', ' ')} {_all(results, key)}" for key in keys)
    imbalance = f"class weights {_all(results, 'class_weights')}, sampling {_all(results, 'sampling')}"
    select_on = listing(list(dict.fromkeys(r["params"].select_on for r in results.runs)))
    choice = f"the epoch with the best {metric(results.score).name} on the {CHOICE.get(select_on, select_on)}"
    looks = sorted({r["test_predictions"] for r in results.runs if "test_predictions" in r})
    looked = f"test was predicted {listing([plural(count, 'time') for count in looks], 'or')} per run"
    return [
        ("network", "CLAIM; TRIPOD+AI", listing(list(sizes.values()))),
        ("software and machine", "CLAIM", ", ".join(software)),
        ("initial weights", "CLAIM", listing(list(dict.fromkeys(r["start"] for r in results.runs)))),
        ("training", "CLAIM; TRIPOD+AI", training),
        ("class imbalance", "TRIPOD+AI", imbalance),
        ("choice of the final model", "CLAIM", "the last epoch" if select_on == "last" else choice),
        ("looks at the test images", "STARD-AI", looked if looks else None),
    ]


def _results(results: StudyResults) -> Rows:
    score, commit = metric(results.score).name, results.runs[0].get("git_commit")
    ends = intervals_over_seeds(results.of(results.chosen)).loc[results.score, ["low", "high"]]
    value = with_interval(results.score, results.mean(results.chosen, results.score), *ends)
    measures = f"accuracy, {score} and others, beside always predicting {results.majority_class}"
    uncertainty = f"95 % intervals by bootstrap, drawn by {results.unit}; {results.n_seeds} per variant"
    code = f"commit {commit}; parameters, predictions and weights of every run are kept"
    return [
        ("measures and baseline", "CLAIM; TRIPOD+AI", measures),
        ("uncertainty", "CLAIM; STARD-AI; TRIPOD+AI", uncertainty),
        ("performance", "CLAIM; STARD-AI; TRIPOD+AI", f"{score}{results.of_chosen}: {value}"),
        ("decision threshold", "STARD-AI", None),
        ("calibration", "TRIPOD+AI", None),
        ("subgroups", "CLAIM; STARD-AI; TRIPOD+AI", None),
        ("explanation", "CLAIM", None),
        ("failure analysis", "CLAIM", None),
        ("external test", "CLAIM; TRIPOD+AI", "none: internal test only"),
        ("code", "CLAIM; TRIPOD+AI", code if commit else None),
        ("registration, ethics and funding", "CLAIM; STARD-AI; TRIPOD+AI", None),
    ]


def _all(results: StudyResults, key: str) -> str:
    """A parameter's value, or all that the variants have."""
    return " or ".join(dict.fromkeys(parameter_text(getattr(run["params"], key)) for run in results.runs))
