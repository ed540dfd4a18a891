"""Predictions that were made elsewhere are read as they are, give the numbers of a report, or are refused by name."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from made_runs import labels, make_run
from sklearn.linear_model import LogisticRegression

from labkit.params import PROJECT, AnalysisParams, ParameterError, RunParams
from labkit.reporting import exhibits
from labkit.reporting import results as collect_room
from labkit.reporting.exhibits.summary import answer, trust
from labkit.reporting.exhibits.worth import worth
from labkit.reporting.judged import PredictionsError, judged_results
from labkit.reporting.results import StudyResults, study_results
from labkit.reporting.show import Exhibit
from labkit.runs.folder import run_folder
from labkit.studies.file import Study

HOWTO = (PROJECT / "reports/README.md").read_text().split("## Predictions from elsewhere")[1].split("\n## ")[0]
SNIPPETS = re.findall(r"```python\n# (\S+)[^\n]*\n(.*?)```", HOWTO, re.DOTALL)
CLASSES = ["x", "y", "z"]


def judged(*paths, **options) -> StudyResults:
    return judged_results(AnalysisParams.of({"predictions": [str(path) for path in paths]} | options))


def made() -> pd.DataFrame:
    """60 images of 30 patients, a third of them of validation: six of nine are right, the others one class too high."""
    place = np.arange(60)
    said = np.where(place % 9 < 6, place % 3, (place + 1) % 3)
    rows = pd.DataFrame({"image_id": [f"i{k:02d}" for k in place], "label": place % 3, "said": said})
    rows["group"] = [f"g{k // 2}" for k in place]
    return rows.assign(split=np.where(place < 20, "val", "test"), site=np.where(place % 4 < 2, "A", "B"))


def scores(name: str, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name.format(k, CLASSES[k]): np.where(rows["said"] == k, 0.8, 0.1) for k in range(3)}


@pytest.fixture
def write(tmp_path):
    def written(rows: pd.DataFrame, name="model.csv"):
        rows.drop(columns="said", errors="ignore").to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return written


def text_of(results: StudyResults) -> str:
    """All that the exhibits of a report say."""
    shown: list[Exhibit] = []
    cells = (PROJECT / "notebooks/analysis.ipynb").read_text()
    for exhibit in (getattr(exhibits, name) for name in re.findall(r"show\(exhibits\.(\w+)\(", cells)):
        given = exhibit(results)
        shown += [given] if isinstance(given, Exhibit) else given
    tables = [one.table.to_csv() for one in shown if one.table is not None]
    return " ".join([one.caption + one.text for one in shown] + tables)


def test_the_tables_of_a_studys_runs_give_every_number_of_its_report(monkeypatch):
    rows = {name: {} for name in ("good", "blind", "alike")}
    whole = Study(name="s", title="t", question="q", runs=rows)
    monkeypatch.setattr(collect_room, "study_of_runs", lambda name: whole)
    answers = labels()
    answers[50:] = 1
    for name, given in (("good", labels()), ("blind", np.zeros(60, int)), ("alike", answers)):
        make_run(name, given, val=given, weight_decay=0.1 * (name == "good"))
    study = study_results("s")
    ours = judged(*(run_folder(RunParams(study="s", run=name), "") / "predictions.csv" for name in rows))
    assert [run["run"] for run in ours.runs] == [f"{name}-seed0" for name in rows] and ours.chosen == "good-seed0"
    for mine, theirs in zip(ours.runs, study.runs, strict=True):
        numbers = [name for name, value in mine.items() if isinstance(value, float) and name in theirs]
        assert len(numbers) > 10
        assert [mine[name] for name in numbers] == pytest.approx([theirs[name] for name in numbers], nan_ok=True)
        for table in ("intervals", "sensitivity_intervals"):
            pd.testing.assert_frame_equal(mine[table], theirs[table])
    pairs = [(ours.differences, study.differences), (worth(ours).points, worth(study).points)]
    pairs += list(zip(ours.against_majority.values(), study.against_majority.values(), strict=True))
    calibrations = zip(worth(ours).calibrations.values(), worth(study).calibrations.values(), strict=True)
    pairs += [(mine.scores, theirs.scores) for mine, theirs in calibrations]
    for mine, theirs in pairs:
        number = [table.select_dtypes("number").reset_index(drop=True) for table in (mine, theirs)]
        pd.testing.assert_frame_equal(*number)


@pytest.mark.parametrize(
    ("kind", "of_scores"),
    [
        ("probabilities", lambda rows: scores("prob_{}", rows)),
        ("probabilities", lambda rows: scores("{1}", rows) | {"label": rows["label"].map(dict(enumerate(CLASSES)))}),
        ("logits", lambda rows: {name: 5 + np.log(of) for name, of in scores("logit_{}", rows).items()}),
        ("predictions alone", lambda rows: {"prediction": rows["said"]}),
        ("predictions alone", lambda rows: {"prediction": rows["said"].map(dict(enumerate(CLASSES)))}),
        ("grades", lambda rows: {"grade": rows["said"] + 0.1}),
    ],
)
def test_scores_of_every_kind_give_the_numbers_that_are_counted_by_hand(kind, of_scores, write):
    rows = made()
    if kind == "grades":  # whose cuts would be fitted on validation
        rows = rows.loc[rows["split"] == "test"]
    named = {"class_names": CLASSES} if kind == "predictions alone" else {}
    results = judged(write(rows.assign(**of_scores(rows))), **named)
    (run,) = results.runs
    # By hand, of the 40 images from i20: 28 are right, of class x 9 of 13, of y 9 of 13, of z 10 of 14.
    assert (run["kind"], run["n"], run["n_groups"], run["accuracy"]) == (kind, 40, 20, 28 / 40)
    assert run["sensitivity"] == pytest.approx([9 / 13, 9 / 13, 10 / 14])
    said = text_of(results)
    assert "How the models were trained" in said and not re.search(r"\bnan\b|None", said)
    assert ("AUROC" in answer(results)[0]) is False and results.firsts["model"]["further"] == ["site"]
    assert ("Confidence" in said or "ECE" in said) == (kind in ("probabilities", "logits"))


def test_a_probability_of_the_second_of_two_classes_is_enough(write):
    rows = made().assign(label=lambda rows: rows["label"].clip(upper=1))
    one = rows.assign(prob_1=np.where(rows["said"] > 0, 0.9, 0.2))
    both = one.assign(prob_0=1 - one["prob_1"])
    first, second = (judged(write(table)).runs[0] for table in (one, both))
    assert first["macro_auroc"] == second["macro_auroc"] is not None and first["accuracy"] == second["accuracy"]


def test_what_the_tables_do_not_say_is_called_unknown_and_what_they_say_is_used(write):
    rows = made().assign(**scores("prob_{}", made()))
    train = rows.assign(image_id="t" + rows["image_id"], split="train", group=rows["group"].replace("g10", "g99"))
    blind, told = judged(write(rows)), judged(write(pd.concat([rows, train])))
    checks = {text: holds for holds, text in trust(blind)}
    assert checks["training images not listed: a test group may have been seen in training"] is False
    assert checks["from elsewhere: how often test was predicted and how epochs were chosen is not known"] is False
    assert not any("seed" in text for text in checks)
    assert any(text.startswith("38 of 40") and not holds for holds, text in trust(told))  # all patients but g10
    several = judged(write(rows), write(rows.assign(said=0, **scores("prob_{}", rows.assign(said=0))), "other.csv"))
    assert answer(several)[0].startswith("The models ") and "seed" not in " ".join(answer(several))
    assert "not reported" in text_of(blind).split("choice of the final model,")[1].split("\n")[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"image_id": "id"}), "no column image_id among id, label"),
        (lambda t: t.drop(columns="label"), "no column label among image_id"),
        (lambda t: t.assign(image_id="i05"), "row 3 (as are 58 more): image_id 'i05' stands in row 2, too"),
        (
            lambda t: t.assign(prob_0=t["prob_0"].where(t.index != 7)),
            "row 9: prob_0, prob_1, prob_2: not finite numbers",
        ),
        (lambda t: t.assign(prob_0=t["prob_0"] + (t.index == 4)), "row 6: a probability is below 0 or above 1"),
        (lambda t: t.assign(prob_0=0.2, prob_1=0.2), "add up to 0.5, not 1; call logits logit_0"),
        (lambda t: t.assign(label=t["label"].where(t.index != 3, 3)), "row 5: label '3' is none of 0, 1, 2"),
        (lambda t: t.assign(label=t["label"].where(t.index != 3, -1)), "row 5: label '-1' is none of 0, 1, 2"),
        (lambda t: t.assign(split="dev"), "row 2 (as are 59 more): split is none of train, val"),
        (lambda t: t.drop(columns="prob_1"), "columns prob_0, prob_2 for the classes 0, 1"),
        (lambda t: t.filter(regex="^(?!prob)"), "wanted: logit_0, logit_1, …, prob_0"),
        (lambda t: t.assign(label=""), "no image of test has a label"),
    ],
)
def test_an_invalid_table_is_refused_with_file_row_and_cure(change, message, write):
    table = made().assign(**scores("prob_{}", made()))
    with pytest.raises(PredictionsError, match=r"model\.csv") as error:
        judged(write(change(table)))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_files_of_other_images_or_labels_are_refused_or_compared_on_those_that_all_have(write, tmp_path):
    table = made().assign(**scores("prob_{}", made()))
    first, part = write(table), write(table.iloc[5:], "part.csv")
    with pytest.raises(PredictionsError, match=r"part.csv: 55.images, 60 in .*, 55 in both; set common"):
        judged(first, part)
    assert {run["n"] for run in judged(first, part, common=True).runs} == {40}
    with pytest.raises(
        PredictionsError, match=r"other.csv: label of i04 is 2, but 1 in .*model.csv \(1.image in all\)"
    ):
        judged(first, write(table.assign(label=table["label"].where(table.index != 4, 2)), "other.csv"))
    with pytest.raises(PredictionsError, match="0 in both; write image_id alike"):
        judged(first, write(table.assign(image_id="x" + table["image_id"]), "other.csv"))
    (tmp_path / "again").mkdir()
    with pytest.raises(PredictionsError, match="give two models one name"):
        judged(first, write(table, "again/model.csv"))
    labels_of = write(table[["image_id", "label"]], "labels.csv")
    alone = judged(write(table.drop(columns="label"), "bare.csv"), labels=str(labels_of))
    assert alone.runs[0]["accuracy"] == judged(first).runs[0]["accuracy"]
    wrong = write(table[["image_id", "label"]].assign(label=1), "wrong.csv")
    with pytest.raises(PredictionsError, match=r"row 2 .*: label is not that of the table of labels"):
        judged(first, labels=str(wrong))
    with pytest.raises(ParameterError, match="study and predictions: give one of them"):
        AnalysisParams.of({"study": "demo", "predictions": ["a.csv"]})
    with pytest.raises(ParameterError, match="labels: belongs to predictions, which are not given"):
        AnalysisParams.of({"labels": "labels.csv"})


def test_the_lines_for_other_libraries_write_what_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y, x = np.arange(60) % 3, (rng.normal(size=(60, 4)) + np.arange(60)[:, None] % 3).astype("float32")
    known = {"pd": pd, "torch": torch, "x": x, "y": y, "ids": [f"i{k}" for k in range(60)], "patients": y}
    tensors, fitted = torch.from_numpy(x), LogisticRegression(max_iter=500).fit(x, y)
    linear = torch.nn.Linear(4, 3)

    class Keras:
        predict = staticmethod(fitted.predict_proba)

    class Learner:
        dls = type("", (), {"test_dl": staticmethod(lambda files, with_labels: files)})
        get_preds = staticmethod(lambda dl: (torch.from_numpy(fitted.predict_proba(x)), torch.from_numpy(y)))

    loader = [(tensors[:30], y[:30]), (tensors[30:], y[30:])]
    given = {"scikit-learn": {"model": fitted}, "PyTorch,": {"model": linear, "device": "cpu", "loader": loader}}
    given |= {"fastai": {"learn": Learner, "files": None}, "Keras": {"model": Keras}}
    assert [name for name, _ in SNIPPETS] == ["scikit-learn", "PyTorch,", "fastai", "Keras"]
    for name, lines in SNIPPETS:
        exec(lines, known | given[name])
    results = judged(*sorted(tmp_path.glob("*.csv")))
    right = (fitted.predict(x) == y).mean()
    assert [run["accuracy"] for run in results.runs[:3]] == pytest.approx([right] * 3)
