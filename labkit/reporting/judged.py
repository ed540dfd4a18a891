"""Results from tables of predictions that were made elsewhere: one file per model, one row per image.

Only what the tables say is known. They say nothing about training, so `StudyResults.trained` is False and the exhibits
about it are empty. An invalid table is refused with file, row and cure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit.data.catalog import facts_of, may_be_grades
from labkit.evaluation.decide import decide
from labkit.evaluation.metrics import majority_baseline
from labkit.format import listing, plural, some
from labkit.params import AnalysisParams, DataParams, OneLine, as_typed
from labkit.reporting.results import StudyResults, scored
from labkit.reporting.style import Palette
from labkit.runs.files import read_json, sha256
from labkit.runs.folder import read_params
from labkit.studies.file import Study

QUESTION = "Which model is better, and what are its predictions worth?"
COLUMNS = ("image_id", "group", "side", "split", "label")
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
WANTED = "logit_0, logit_1, …, prob_0, prob_1, …, a column per class name, grade, or prediction"
SMALLEST = 1e-12  # a probability of 0 has no logarithm
OFF = 1e-3  # how far the sum of a row's probabilities may be from 1


class PredictionsError(OneLine, ValueError):
    """An invalid table of predictions: the message names the file, the row and the cure."""


@dataclass
class Table:
    """One file; `rows` as in `predictions.csv`, or with `prediction` in place of logits, and with further columns."""

    path: Path
    rows: Any  # pd.DataFrame, whose columns' types pyright cannot know
    classes: list[str]  # empty until they are known
    task: str
    kind: str = ""  # what the predictions are made from
    notes: list[str] = field(default_factory=list)

    def refuse(self, wrong: Any, why: str) -> None:
        """PredictionsError with the first row that is `wrong`, as an editor counts them, and how many there are."""
        if (found := np.flatnonzero(np.asarray(wrong, dtype=bool))).size:
            more = f" (as are {len(found) - 1:,} more)" if len(found) > 1 else ""
            raise PredictionsError(f"{self.path}, row {found[0] + 2}{more}: {why}")


def model_name(path: Path) -> str:
    """The file's name without its ending; of a run's own predictions.csv the run's."""
    return path.parent.name if (path.parent / "run.json").is_file() else path.stem


def judged_results(params: AnalysisParams) -> StudyResults:
    """The results of ``params.predictions``. PredictionsError as at the head of this file."""
    labels = None
    if params.labels:
        given = _open(as_typed(params.labels), ("image_id", "label"))
        labels = given.rows.set_index("image_id")["label"]
    tables = {}
    for path in map(as_typed, params.predictions or ()):
        name = model_name(path)
        if name in tables:
            raise PredictionsError(f"{path} and {tables[name].path} give two models one name; rename one of the files")
        tables[name] = _read(path, params, labels)
        _compare(next(iter(tables.values())), tables[name], params.common)
    first = next(iter(tables.values()))
    common = set.intersection(*(set(table.rows["image_id"]) for table in tables.values()))
    of_data = {"dataset": "custom", "data": str(first.path), "class_names": first.classes, "task": first.task}
    data = DataParams.of(of_data)
    runs = [_result(name, table, common, data) for name, table in tables.items()]
    train = np.repeat(np.arange(len(first.classes)), runs[0]["train_counts"])
    title = f"Predictions of {listing(list(tables))}"
    return StudyResults(
        study=Study(name="judged", title=title, question=QUESTION, runs={name: {} for name in tables}),
        runs=runs,
        history=pd.DataFrame(),
        unfinished=pd.DataFrame(),
        majority=runs[0]["majority"],
        baseline=majority_baseline(train, runs[0]["test"]["label"], len(first.classes), first.task),
        classes=first.classes,
        score=runs[0]["score"],
        palette=Palette([*tables]),
        trained=False,
        images=as_typed(params.images) if params.images else None,
    )


def _result(name: str, table: Table, common: set[str], data: DataParams) -> dict[str, Any]:
    """A run dict as StudyResults has them, of the images that all tables have."""
    rows = table.rows.loc[table.rows["image_id"].isin(common)].sort_values("image_id")
    decided = decide(rows, len(table.classes))
    known = decided.loc[decided["label"].notna()]
    train, val, test = (known.loc[known["split"] == part].reset_index(drop=True) for part in ("train", "val", "test"))
    if test.empty:
        raise PredictionsError(f"{table.path}: no image of test has a label; correct split, or give a table of labels")
    learnt = next(part for part in (train, val, test) if len(part))["label"].astype(int)  # where its classes are known
    own = rows.columns.str.fullmatch(r"logit_\d+|prediction|grade|" + "|".join(COLUMNS))
    facts: dict[str, Any] = {"run": name, "seed": 0, "classes": table.classes, "score": facts_of(data).score}
    facts |= {"train_counts": np.bincount(learnt, minlength=len(table.classes)).tolist(), "params": data, "stamps": []}
    facts |= {"source": str(table.path), "sha256": sha256(table.path), "kind": table.kind, "notes": table.notes}
    facts |= {"further": [name for name in rows.columns[~own] if rows[name].nunique() > 1], "unseen": train.empty}
    met = test["group"].isin(train["group"].dropna()).astype(bool)
    return facts | scored(test, val, decided, facts) | {"touched": met.set_axis(test["image_id"])}


def _open(path: Path, needed: Sequence[str]) -> Table:
    """A CSV or Parquet file with these columns, ids and labels as text, one row per image."""
    text: Any = dict.fromkeys((*COLUMNS, "prediction"), "string")
    try:
        if path.suffix == ".parquet":
            rows = pd.read_parquet(path)
            rows = rows.astype({name: of for name, of in text.items() if name in rows})
        else:
            rows = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except ImportError:
        raise PredictionsError(
            f"{path}: Parquet is read by pyarrow, which is not installed; install it, or write CSV"
        ) from None
    except FileNotFoundError:
        raise PredictionsError(f"{path}: there is no such file") from None
    except ValueError as error:  # pandas' parser errors are such, and name no file
        raise PredictionsError(f"{path}: not a table ({' '.join(str(error).split())})") from None
    for name in needed:
        if name not in rows:
            raise PredictionsError(
                f"{path}: no column {name} among {some([*map(str, rows)], 8, 'and')}; rename the one it is"
            )
    table = Table(path, rows.rename(columns=str), [], "classes")
    ids = rows["image_id"] = rows["image_id"].str.strip()
    table.refuse(ids.isna(), "no image_id")
    if (twice := ids.duplicated()).any():
        first = int(np.argmax(ids == ids[twice].iloc[0]))
        table.refuse(twice, f"image_id {ids[twice].iloc[0]!r} stands in row {first + 2}, too; keep one row per image")
    return table


def _read(path: Path, params: AnalysisParams, labels: pd.Series | None) -> Table:
    table = _open(path, ("image_id", "label") if labels is None else ("image_id",))
    rows, run = table.rows, path.parent / "run.json"
    table.classes, table.task = list(params.class_names or ()), params.task or "classes"
    if run.is_file():
        table.classes = table.classes or read_json(run)["classes"]
        table.task = params.task or facts_of(read_params(path.parent)).task
    if labels is not None:
        theirs = rows["image_id"].map(labels).astype("string")
        own = rows.get("label", theirs)
        table.refuse(((own != theirs) & theirs.notna()).fillna(False), "label is not that of the table of labels")
        rows["label"] = theirs.fillna(own)
    for name in ("group", "side"):
        rows[name] = rows[name] if name in rows else pd.Series(pd.NA, rows.index, dtype="string")
    split = rows["split"].str.strip().str.lower().map(SPLITS) if "split" in rows else pd.Series("test", rows.index)
    table.refuse(split.isna(), f"split is none of {', '.join(SPLITS)}; correct it, or leave the column out")
    rows["split"] = split
    _read_scores(table)
    if missing := int((table.rows["label"].isna() & (split == "test")).sum()):
        table.notes.append(f"{plural(missing, 'test image')} without a label left out")
    if params.task is None and table.task == "classes" and may_be_grades(table.classes):
        table.notes.append("its classes look like grades: with task grades their order counts, and kappa is the score")
    return table


def _read_scores(table: Table) -> None:
    """Bring scores and labels to what `decide` takes, and find the classes where none are given."""
    rows, classes = table.rows, table.classes
    kinds = {kind: [name for name in rows if name.startswith(f"{kind}_")] for kind in ("logit", "prob")}
    kind = next((kind for kind, columns in kinds.items() if columns), "class")
    columns = kinds.get(kind) or [name for name in classes or sorted(set(rows["label"].dropna())) if name in rows]
    if columns == ["prob_1"]:
        rows["prob_0"], columns = 1 - _numbers(table, ["prob_1"])[:, 0], ["prob_0", "prob_1"]
    if columns:
        classes = classes or (columns if kind == "class" else [str(number) for number in range(len(columns))])
        named = classes if kind == "class" else [f"{kind}_{number}" for number in range(len(classes))]
        if sorted(named) != sorted(columns):
            told = f"columns {', '.join(columns)} for the classes {', '.join(classes)}"
            raise PredictionsError(f"{table.path}: {told}; there must be {', '.join(named)}; or set class_names")
        scores = _numbers(table, named)
        if kind != "logit":
            table.refuse(((scores < -OFF) | (scores > 1 + OFF)).any(axis=1), "a probability is below 0 or above 1")
            off = np.abs(scores.sum(axis=1) - 1) > OFF
            cure = "name all classes in class_names" if kind == "class" else "call logits logit_0, logit_1, …"
            table.refuse(off, f"probabilities add up to {scores.sum(axis=1)[off.argmax()]:.4g}, not 1; {cure}")
            scores = np.log(np.maximum(scores, SMALLEST))
        rows = rows.drop(columns=[*named, "prediction"], errors="ignore")
        rows = rows.assign(**{f"logit_{number}": scores[:, number] for number in range(len(named))})
        table.kind = "logits" if kind == "logit" else "probabilities"
    elif "grade" in rows:
        rows = rows.assign(grade=_numbers(table, ["grade"])).drop(columns="prediction", errors="ignore")
        table.kind, table.task = "grades", "grades"
    elif "prediction" in rows:
        table.refuse(rows["prediction"].isna(), "no prediction")
        table.kind = "predictions alone"
    else:
        raise PredictionsError(f"{table.path}: no scores among {some([*rows], 8, 'and')}; wanted: {WANTED}")
    said = [name for name in ("label", "prediction") if name in rows]
    table.rows, table.classes = rows, classes or _classes(pd.concat([rows[name] for name in said]))
    for name in said:
        rows[name] = _class_numbers(table, name)


def _numbers(table: Table, columns: Sequence[str]) -> np.ndarray:
    values = table.rows[[*columns]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    table.refuse(~np.isfinite(values).all(axis=1), f"{', '.join(columns)}: not finite numbers")
    return values


def _classes(said: Any) -> list[str]:
    """By number where all values are whole numbers, else by name."""
    values = said.dropna().unique().tolist()
    numbers = [_number(value) for value in values]
    if None in numbers or not values:
        return sorted(values)
    return [str(number) for number in range(max(1, *[number or 0 for number in numbers]) + 1)]


def _number(text: str) -> int | None:
    """A class number, which may be written 2.0."""
    try:
        return int(float(text)) if float(text) == int(float(text)) >= 0 else None
    except (ValueError, OverflowError):
        return None


def _class_numbers(table: Table, name: str) -> pd.Series:
    """A column's class names or numbers as Int64."""
    texts = table.rows[name].str.strip()
    places: dict[str, int | None] = {text: place for place, text in enumerate(table.classes)}
    for text in texts.dropna().unique():
        number = places.setdefault(text, _number(text))
        if number is None or number >= len(table.classes):
            allowed = f"{', '.join(table.classes)}, or a number from 0 to {len(table.classes) - 1}"
            table.refuse((texts == text).fillna(False), f"{name} {text!r} is none of {allowed}; see class_names")
    return texts.map(places).astype("Int64")


def _compare(first: Table, other: Table, common: bool) -> None:
    """PredictionsError unless both have the same classes, images and labels; `common`: of shared images."""
    if other.classes != first.classes:
        told = f"classes {', '.join(other.classes)}, but {', '.join(first.classes)} in {first.path}"
        raise PredictionsError(f"{other.path}: {told}; set class_names")
    a, b = (table.rows.set_index("image_id") for table in (first, other))
    shared = a.index.intersection(b.index)
    if shared.empty or (len(shared) < max(len(a), len(b)) and not common):
        told = f"{plural(len(b), 'image')}, {len(a):,} in {first.path}, {len(shared):,} in both"
        cure = "write image_id alike" if shared.empty else "set common to compare on those"
        raise PredictionsError(f"{other.path}: {told}; {cure}")
    for name in ("label", "split", "group"):
        mine, theirs = (of.loc[shared, name].astype("string") for of in (a, b))
        differ = (mine.fillna("none") != theirs.fillna("none")).to_numpy(bool)
        if differ.any():
            which = shared[differ.argmax()]
            told = f"{name} of {which} is {theirs[which]}, but {mine[which]} in {first.path}"
            raise PredictionsError(f"{other.path}: {told} ({plural(int(differ.sum()), 'image')} in all); correct one")
    if len(shared) < max(len(a), len(b)):
        other.notes.append(f"compared on the {plural(len(shared), 'image')} that all files have")
