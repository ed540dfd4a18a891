"""What the report says decisions are worth: and nothing where nothing is known."""

import re

import numpy as np
import pandas as pd
import pytest
from made_tables import GRADES, both, table_of

from labkit.evaluation.decide import decide
from labkit.params import AnalysisParams, ParameterError
from labkit.reporting.exhibits import benefit, reliability
from labkit.reporting.exhibits.benefit import stretches
from labkit.reporting.judged import judged_results
from labkit.reporting.results import StudyResults
from labkit.reporting.show import LONGEST_ALT


@pytest.fixture
def judged(tmp_path):
    """Results of one table per model."""

    def made(task="grades", names=GRADES, **tables: pd.DataFrame) -> StudyResults:
        files = []
        for name, table in tables.items():
            files.append(str(tmp_path / f"{name}.csv"))
            kept = table.filter(regex=r"^(image_id|group|split|label|logit_\d+|grade|prediction)$")
            kept.to_csv(files[-1], index=False)
        return judged_results(AnalysisParams.of({"predictions": files, "task": task, "class_names": list(names)}))

    return made


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_a_model_with_enough_patients_has_all_of_it(judged):
    table = both(500)
    results = judged(good=table, worse=both(500, skill=0.8).assign(label=table["label"]))
    figure, points, costs = benefit(results, None, (1 - np.eye(5)).tolist())
    assert len(figure.figure.axes) == 3 and 0 < len(figure.alt) <= LONGEST_ALT
    said = plain(figure.text)
    assert re.search(r"the net benefit of good is known to be higher at thresholds of \d+ % to 50 %", said)
    assert re.search(r"kappa is 0\.\d+ \[0\.\d+–0\.\d+\] in place of 0\.\d+\. It then decides \d+ % of No DR", said)
    first, second = (float(value) for value in points.table["threshold"])
    assert second < first and list(points.table["chosen for"])[1] == "90\u00a0% sensitivity with 95\u00a0% confidence"
    told = plain(points.text)
    assert re.search(r"On test it costs \d+\.\d points of specificity\. Since validation also chose the variant", told)
    assert costs.table["variant"].tolist() == ["good", "worse", "always No DR"]
    accuracy = results.runs[0]["accuracy"]
    assert costs.table.iloc[0, 1].startswith(f"{1 - accuracy:.3f} [")


def test_ppv_follows_the_prevalence_and_npv_moves_the_other_way(judged):
    results = judged(good=both(500))
    here, rare = (next(one.table for one in benefit(results, of) if one.table is not None) for of in (None, 0.01))
    share = {name: [float(of[name].str.extract(r"([\d.]+)")[0][0]) for of in (here, rare)] for name in ("PPV", "NPV")}
    assert share["PPV"][0] > share["PPV"][1] and share["NPV"][0] < share["NPV"][1]
    assert here["Sensitivity"].equals(rare["Sensitivity"])


def test_few_patients_are_told_how_many_are_needed_and_no_validation_why(judged):
    said = [plain(one.text) for one in benefit(judged(few=both(40)))]
    assert re.search(r"validation has \d+ positive images of different groups, and 29 are needed", said[-1])
    table = both(100)
    *_, last = benefit(judged(alone=table[table["split"] == "test"]))
    assert last.table is None and "none can be guaranteed: there is no validation split" in last.text


def test_a_grade_has_a_threshold_but_no_net_benefit_and_predictions_alone_have_a_cost_at_most(judged):
    table = both(500)
    grade = table.filter(like="p_").to_numpy() @ np.arange(5)
    ordinal = table.drop(columns=table.filter(regex="^(logit|p)_|prediction").columns).assign(grade=grade)
    (points,) = benefit(judged(ordinal=ordinal))
    assert points.figure is None and len(points.table) == 2
    figure, _ = benefit(judged(ordinal=ordinal, logits=both(500, skill=0.5).assign(label=table["label"])))
    assert "ordinal gives no probabilities; this is about logits." in figure.text
    alone = table.drop(columns=table.filter(regex="^(logit|p)_").columns)
    assert list(benefit(judged(alone=alone))) == []
    (costs,) = benefit(judged(alone=alone), None, (1 - np.eye(5)).tolist())
    assert costs.table.iloc[0, 2] == "–"


def test_a_constant_model_gains_nothing_and_classes_without_an_order_have_no_threshold(judged):
    labels = np.tile([0, 1, 1, 0, 0], 40)
    groups = [f"g{number // 2}" for number in range(200)]
    constant = decide(table_of(labels, np.tile([1.0, 0.0], (200, 1)), groups))
    figure, last = benefit(judged("classes", ["well", "ill"], constant=constant))
    assert "is at no threshold known to differ" in figure.text or "to be lower" in figure.text
    assert "higher" not in figure.text and "decides" not in figure.text and "none can be guaranteed" in last.text
    table = both(100, shares=(0.4, 0.3, 0.3))
    (figure,) = benefit(judged("classes", ["x", "y", "z"], model=table))
    assert len(figure.figure.axes) == 2 and "benefit" not in figure.text + figure.caption


def test_a_cost_matrix_of_other_classes_is_refused(judged):
    with pytest.raises(ParameterError, match="cost_matrix: got 2 rows"):
        list(benefit(judged(good=both(50)), None, [[0, 1], [5, 0]]))
    given = {"study": "demo", "prevalence": "0.05", "cost_matrix": "[[0, 1], [5, 0]]"}  # as Papermill gives them
    assert AnalysisParams.of(given).cost_matrix == [[0, 1], [5, 0]]
    for wrong in ({"prevalence": 1.0}, {"cost_matrix": [[0, 1]]}, {"cost_matrix": [[0, -1], [5, 0]]}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            AnalysisParams.of(wrong)


def test_each_class_has_its_mean_probability_beside_its_share(judged):
    *_, last = reliability(judged(good=both(300)))
    assert last.table["class"].tolist() == GRADES and last.table["difference"].str.contains(r"\[").all()


def test_stretches_of_thresholds_are_told_by_their_ends():
    at = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert plain(stretches(at, np.array([1, 1, 0, 1, 0], bool))) == "10 % to 20 % and 40 %"
