"""A page for the reviewer: what the reporting guidelines ask for, filled from the runs' manifests and the audit.

Also the papers that a report rests on. The guidelines are named without their items' numbers, which differ by
edition. What is not known here is called not reported: a checklist that fills itself must not fill in what was never
written down.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from labkit.data.catalog import CATALOG, facts
from labkit.data.source import PHANTOMS
from labkit.evaluation.metrics import metric, with_interval
from labkit.format import listing, millions, plural
from labkit.reporting.exhibits.external import performance
from labkit.reporting.exhibits.summary import trust
from labkit.reporting.exhibits.worth import Worth, worth
from labkit.reporting.learning import choice_in_words
from labkit.reporting.results import StudyResults, intervals_over_seeds
from labkit.reporting.show import Exhibit
from labkit.reporting.tables import parameter_text

Run = Mapping[str, Any]

NOT_REPORTED = "not reported"
# Items that sections report, and where.
SHOWN = {"decision threshold": "Screening", "calibration": "Calibration", "subgroups": "Subgroups"}
SHOWN |= {"explanation": "Mistakes", "failure analysis": "Mistakes"}
SHOWN |= {"sample size calculation": "Further scores and sample size (after the fact)"}
SOFTWARE = ("python", "torch")
AUDITED = ("groups", "duplicates")  # keys of a run's audit
ITEMS = {  # and the guidelines that ask for them
    "objective": "CLAIM; STARD-AI; TRIPOD+AI",
    "intended use": "CLAIM; STARD-AI; TRIPOD+AI",
    "data source": "CLAIM; TRIPOD+AI",
    "eligibility of patients": "CLAIM; STARD-AI; TRIPOD+AI",
    "preprocessing": "CLAIM; TRIPOD+AI",
    "unreadable or missing data": "CLAIM; TRIPOD+AI",
    "reference standard": "CLAIM; STARD-AI",
    "annotators and their agreement": "CLAIM; TRIPOD+AI",
    "sample size calculation": "CLAIM; STARD-AI; TRIPOD+AI",
    "partitions": "CLAIM; STARD-AI",
    "disjoint patients": "CLAIM; STARD-AI",
    "duplicate images": "CLAIM",
    "age, sex and other characteristics": "CLAIM; STARD-AI; TRIPOD+AI",
    "network": "CLAIM; TRIPOD+AI",
    "software and machine": "CLAIM",
    "initial weights": "CLAIM",
    "training": "CLAIM; TRIPOD+AI",
    "class imbalance": "TRIPOD+AI",
    "choice of the final model": "CLAIM",
    "looks at the test images": "STARD-AI",
    "measures and baseline": "CLAIM; TRIPOD+AI",
    "uncertainty": "CLAIM; STARD-AI; TRIPOD+AI",
    "performance": "CLAIM; STARD-AI; TRIPOD+AI",
    "decision threshold": "STARD-AI",
    "calibration": "TRIPOD+AI",
    "subgroups": "CLAIM; STARD-AI; TRIPOD+AI",
    "explanation": "CLAIM",
    "failure analysis": "CLAIM",
    "external test": "CLAIM; TRIPOD+AI",
    "code": "CLAIM; TRIPOD+AI",
    "registration, ethics and funding": "CLAIM; STARD-AI; TRIPOD+AI",
}
SPLIT = {"group": "by {group}", "image": "by image, whichever {group} it is of", "given": "as the data came"}


def checklist(results: StudyResults, also: Mapping[str, str]) -> pd.DataFrame:
    """Columns item, guideline, reported; about thirty rows. `also`: what the report shows besides, by item."""
    known = _results(results) | (_data(results) | _model(results) if results.trained else _of_predictions(results))
    rows = [(item, asked, also.get(item) or known.get(item) or NOT_REPORTED) for item, asked in ITEMS.items()]
    return pd.DataFrame(rows, columns=["item", "guideline", "reported"])


def by_variant(results: StudyResults, of_run: Callable[[Run], object]) -> str:
    """What is said of all runs; where they differ 'this (a and b); that (c)', and '' where it is unknown (None)."""
    said: dict[str, list[str]] = {}
    for run in results.runs:
        if (text := of_run(run)) is not None:
            said.setdefault(str(text), []).append(run["run"])
    if len(said) == 1:
        return next(iter(said))
    return "; ".join(f"{text} ({listing(list(dict.fromkeys(runs)))})" for text, runs in said.items())


def choice_sentence(results: StudyResults) -> str:
    """Which epoch's weights were tested, and what they were chosen by."""
    ties = "" if results.runs[0]["params"].select_on == "last" else "; of equal epochs, the one with the lower loss"
    return f"The weights are those of {_choice(results)}{ties}."


def _choice(results: StudyResults) -> str:
    return by_variant(results, lambda run: choice_in_words([run["params"].chosen_by(results.score)]))


def machine_sentence(results: StudyResults) -> str:
    """On what the runs were trained, and in which precision."""
    on = by_variant(results, lambda r: f"{r['device']} in {r['precision']} with {plural(r['threads'], 'thread')}")
    return f"Trained on {on}."


Known = dict[str, str | None]


def _data(results: StudyResults) -> Known:
    run, group = results.runs[0], results.group_name
    params = run["params"]
    known = CATALOG.get(params.dataset)
    source = f"as the study names it: {known.source}; licence: {known.licence}" if known and known.source else None
    if params.data in PHANTOMS:
        source = f"{PHANTOMS[params.data]}, drawn by labkit; they depict nobody"
    unreadable = by_variant(results, lambda run: run.get("unreadable"))
    left_out = f"images that cannot be decoded and are left out: {unreadable}"
    of = f"; test shows {plural(run['n_groups'], group)}" if run["n_groups"] else ""
    split = SPLIT[params.split].format(group=group if run["n_groups"] else "image")
    groups, duplicates = (by_variant(results, lambda run, key=key: run.get("audit", {}).get(key)) for key in AUDITED)
    of_patients = ("share a", "are unknown", "were trained on")  # in the stamps' own words (labkit.audit.stamps)
    stamped = "; ".join(stamp for stamp in results.stamps if any(words in stamp for words in of_patients))
    return {
        "objective": results.study.question,
        "intended use": "none: a lab report, not a medical device",
        "data source": source,
        "preprocessing": by_variant(results, _preprocessing),
        "unreadable or missing data": left_out if unreadable else None,
        "partitions": f"{by_variant(results, _parts)}, split {split}{of}",
        "disjoint patients": groups or stamped,
        "duplicate images": duplicates.partition(". ")[0],  # the rest: in the section about the data
    }


def _of_predictions(results: StudyResults) -> Known:
    """What tables from elsewhere say; they do not say whether the data of training was other data."""
    run = results.runs[0]
    of = f", of {plural(run['n_groups'], results.group_name)}" if run["n_groups"] else ""
    sizes = [f"{part} {plural(len(run[part]), 'image')}" for part in ("val", "test") if len(run[part])]
    return {"objective": results.study.question, "partitions": f"{', '.join(sizes)}{of}", "external test": None}


def _preprocessing(run: Run) -> str:
    params = run["params"]
    cut = f", cropped to {params.crop_size} px" if params.crop_size else ""
    return f"square of {params.image_size} px{cut}; normalised: {params.normalize}"


def _parts(run: Run) -> str:
    sizes = run["n_images"]
    return ", ".join(f"{part} {plural(sizes[part], 'image')}" for part in ("train", "val", "test") if part in sizes)


def _model(results: StudyResults) -> Known:
    sizes = {r["params"].arch: f"{r['params'].arch} ({millions(r['parameters'])} parameters)" for r in results.runs}
    software = [by_variant(results, of_run) for of_run in (_versions, _machine)]
    keys = ("loss", "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "weight_decay", "rotation")
    keys += ("horizontal_flip", "vertical_flip")
    training = ", ".join(f"{key.replace('_', ' ')} {_all(results, key)}" for key in keys)
    imbalance = f"class weights {_all(results, 'class_weights')}, sampling {_all(results, 'sampling')}"
    looks = sorted({r["test_predictions"] for r in results.runs if "test_predictions" in r})
    often = ["once" if count == 1 else plural(count, "time") for count in looks]
    looked = f"each variant predicted the test images {listing(often, 'or')}"
    return {
        "network": listing(list(sizes.values())),
        "software and machine": ", ".join(filter(None, software)),
        "initial weights": "; ".join(dict.fromkeys(r["start"] for r in results.runs)),
        "training": training,
        "class imbalance": imbalance,
        "choice of the final model": _choice(results),
        "looks at the test images": looked if looks else None,
    }


def _results(results: StudyResults) -> Known:
    score = metric(results.score).name
    commit = by_variant(results, lambda run: run.get("git_commit"))
    ends = intervals_over_seeds(results.of(results.chosen)).loc[results.score, ["low", "high"]]
    value = with_interval(results.score, results.mean(results.chosen, results.score), *ends)
    measures = f"accuracy, {score} and others, beside always predicting {results.majority_class}"
    uncertainty = f"95 % intervals by bootstrap, drawn by {results.drawn_over}"
    uncertainty += f"; {results.n_seeds} per variant" * results.trained
    code = f"commit {commit}; parameters, predictions and weights of every run are kept"
    return {
        "measures and baseline": measures,
        "uncertainty": uncertainty,
        "performance": f"{score}{results.by_chosen}: {value}",
        "external test": performance(results) or "none: the test images are of the data set of training",
        "code": code if commit else None,
    }


def _versions(run: Run) -> str | None:
    return ", ".join(f"{key} {value}" for key, value in run.get("versions", {}).items() if key in SOFTWARE) or None


def _machine(run: Run) -> str | None:
    return ", ".join(str(run[key]) for key in ("device", "precision") if run.get(key)) or None


def _all(results: StudyResults, key: str) -> str:
    """A parameter's value, or all that the variants have."""
    return listing(list(dict.fromkeys(parameter_text(getattr(run["params"], key)) for run in results.runs)))


def papers(results: StudyResults, found: Worth) -> list[str]:
    """Those papers on networks, data and statistics that the report uses, in alphabetical order.

    The data's own source and what published numbers stand in come last.
    """
    dataset = results.runs[0]["params"].dataset
    archs = [run["params"].arch for run in results.runs if results.trained]
    light, mnist = any("efficientnet" in arch for arch in archs), dataset.endswith("mnist")
    grouped, seeds = not results.runs[0]["n_without_group"], len(results.runs) > len(results.tests)
    compared, calibrated = next(results.comparisons(), None) is not None, bool(found.calibrations)
    used = {
        "A. Tejani et al. Checklist for artificial intelligence in medical imaging (CLAIM): 2024 update. "
        "Radiology: Artificial Intelligence 6(4), 2024, e240300.": True,  # every report has a checklist
        "G. Collins et al. TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use "
        "regression or machine learning methods. BMJ 385, 2024, e078378.": True,
        "V. Sounderajah et al. The STARD-AI reporting guideline for diagnostic accuracy studies using artificial "
        "intelligence. Nature Medicine 31, 2025.": True,
        "K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition. CVPR 2016.": bool(archs),
        "J. Adebayo et al. Sanity checks for saliency maps. NeurIPS 2018.": bool(archs),
        "R. Selvaraju et al. Grad-CAM: visual explanations from deep networks. ICCV 2017.": bool(archs),
        "M. Tan, Q. Le. EfficientNet: rethinking model scaling for convolutional neural networks. ICML 2019.": light,
        "J. Cohen. Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit. "
        "Psychological Bulletin 70(4), 1968.": results.score == "qwk",
        "G. Ying et al. Receiver-operating characteristic analysis for correlated eye data. 2021, PMC8586066.": grouped,
        "X. Bouthillier et al. Accounting for variance in machine learning benchmarks. MLSys 2021.": seeds,
        "Q. McNemar. Note on the sampling error of the difference between correlated proportions or percentages. "
        "Psychometrika 12, 1947.": compared,
        "S. Holm. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, "
        "1979.": compared,
        "C. Guo, G. Pleiss, Y. Sun, K. Weinberger. On calibration of modern neural networks. ICML 2017.": calibrated,
        "C. Clopper, E. Pearson. The use of confidence or fiducial limits illustrated in the case of the binomial. "
        "Biometrika 26(4), 1934.": True,
        "J. Yang et al. MedMNIST v2: a large-scale lightweight benchmark. Scientific Data 10, 2023.": mnist,
    }
    listed = sorted(text for text, is_used in used.items() if is_used)
    if results.runs[0]["params"].data not in PHANTOMS and facts(dataset).source:
        listed.append(f"Data: {facts(dataset).source}.")
    sources = dict.fromkeys(one.source for one in results.study.published)
    return [*listed, *(f"Published numbers: {source}." for source in sources)]


def references(results: StudyResults) -> Exhibit:
    """The papers and sources that the report rests on."""
    return Exhibit(text="\n".join(f"- {line}" for line in papers(results, worth(results))))


def review(results: StudyResults) -> Exhibit:
    """The reporting checklist, filled from the runs' manifests and from what the report has shown above it."""
    table = checklist(results, {item: f"section {SHOWN[item]}" for item in results.shown})
    source = "the runs' manifests" if results.trained else "the tables of predictions"
    caption = f"Reporting checklist, filled from {source} and from this report"
    text = f"{(table['reported'] != NOT_REPORTED).sum()} of {plural(len(table), 'item')} are reported."
    return Exhibit(table=table, caption=caption, text=text)


def limits(results: StudyResults) -> Exhibit:
    """What the numbers cannot say: what does not hold on page one, and what guidelines miss."""
    lines = [f"{text[:1].upper()}{text[1:]}." for holds, text in trust(results) if not holds]
    table = checklist(results, SHOWN)
    lacking = table.loc[table["reported"] == NOT_REPORTED, "item"]
    lines.append(f"Guidelines ask for more than is known here: {'; '.join(lacking)}.")
    return Exhibit(text="\n".join(f"- {line}" for line in lines))
