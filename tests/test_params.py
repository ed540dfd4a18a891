import ast
import json

import pytest

from labkit.params import PROJECT, ParameterError, RunParams, assigned_literals

DEFAULTS = "# Parameters: a tiny run\nepochs = 1\narch = 'resnet18'"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"epoch": 9}, ["epoch", "9", "did you mean epochs"]),
        ({"epochs": "two"}, ["epochs", "'two'", "a whole number, at least 1"]),
        ({"epochs": True}, ["epochs", "True"]),
        ({"epochs": 2.5}, ["epochs", "2.5", "whole number"]),
        ({"arch": "resnet51"}, ["arch", "'resnet51'", "resnet18, resnet34, resnet50, resnet101, resnet152"]),
        ({"learning_rate": -1}, ["learning_rate", "-1", "above 0"]),
        ({"learning_rate": float("nan")}, ["learning_rate", "nan"]),
        ({"epochs": float("inf")}, ["epochs: got inf", "a whole number, at least 1"]),
        ({"rotation": float("inf")}, ["rotation: got inf"]),
        (
            {"class_weights": "blanced"},
            ["class_weights", "'blanced'", "one of none, balanced, complement or a list of numbers"],
        ),
        ({"class_weights": [1.0, -2.0]}, ["class_weights", "-2.0", "positive"]),
        ({"crop_size": 128, "image_size": 64}, ["crop_size", "128", "at most image_size (64)"]),
        ({"freeze_epochs": 3, "epochs": 2, "weights": "x.pt"}, ["freeze_epochs", "3", "at most epochs (2)"]),
        ({"freeze_epochs": 1}, ["freeze_epochs", "weights"]),
        ({"rotation": [90, 0]}, ["rotation", "90"]),
        ({"sampling": "over"}, ["sampling", "'over'", "oversample"]),
        ({"train_on": "train+val"}, ["select_on", "'val'", "last"]),
        ({"deviation": "linear_bottleneck"}, ["deviation", "resnet18 has no bottlenecks"]),
        ({"deviation": "flat_head", "arch": "tf_efficientnet_lite0"}, ["deviation", "no residual network"]),
        ({"positive_class": "a", "class_names": ["a", "b"]}, ["positive_class", "'a'", "last of two class_names"]),
        ({"study": "../elsewhere"}, ["study", "'../elsewhere'", "letters, digits"]),
    ],
)
def test_a_wrong_parameter_stops_with_field_value_and_what_is_allowed(wrong, words):
    with pytest.raises(ParameterError) as error:
        RunParams.of(wrong)
    for word in words:
        assert word in str(error.value)


def test_every_mistake_is_named_at_once():
    with pytest.raises(ParameterError) as error:
        RunParams.of({"epoch": 9, "arch": "resnet51"})
    assert "epoch:" in str(error.value) and "arch:" in str(error.value)


def test_values_arrive_as_papermill_and_yaml_hand_them_over():
    params = RunParams.of({"class_weights": "[1.2, 1.0]", "weights": "None", "learning_rate": "1e-3", "run": 3})
    assert params.class_weights == [1.2, 1.0]
    assert params.weights is None
    assert params.learning_rate == 1e-3
    assert params.run == "3"


def test_papermills_cell_overrides_the_notebooks_own():
    assert RunParams.from_cells([DEFAULTS, "# Parameters\nepochs = 3\n"]).epochs == 3


def test_a_second_parameters_cell_adds_to_what_papermill_and_the_notebook_set():
    cells = [DEFAULTS, "# Parameters\nepochs = 3\nseed = 20\n", "# Parameters: mine\nepochs = 2"]
    assert assigned_literals(cells, set(RunParams.model_fields)) == {"epochs": 2, "arch": "resnet18", "seed": 20}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_papermill_makes_of_no_number_names_the_parameter(value):
    from papermill.translators import PythonTranslator

    with pytest.raises(ParameterError, match=f"epochs: got {value}, allowed: a whole number, at least 1"):
        RunParams.from_cells([DEFAULTS, PythonTranslator.codify({"epochs": float(value)})])


def test_a_misspelt_name_in_an_injected_cell_is_refused():
    with pytest.raises(ParameterError, match="epoch: got 9"):
        RunParams.from_cells([DEFAULTS, "# Parameters\nepoch = 9\n"])


def test_running_the_parameters_cell_again_forgets_an_earlier_mistake():
    mistaken = "# Parameters: a tiny run\nepoch = 9"
    assert RunParams.from_cells([mistaken, "print(1)", DEFAULTS]).epochs == 1


def test_a_cell_of_ones_own_may_change_a_parameter_and_hold_other_names():
    assert assigned_literals([DEFAULTS, "epochs = 5\nscratch = 1"], set(RunParams.model_fields)) == {
        "epochs": 5,
        "arch": "resnet18",
    }


def test_without_a_parameters_cell_nothing_runs_on_defaults():
    with pytest.raises(ParameterError, match="no parameters cell was run"):
        RunParams.from_cells(["epochs = 50\narch = 'resnet50'"])


def test_a_kernel_that_keeps_no_cells_hands_over_its_variables():
    assert RunParams.from_cells([""], {"epochs": 3, "In": [""], "other": 1}).epochs == 3
    assert RunParams.from_cells([DEFAULTS], {"epochs": 3}).epochs == 1  # cells, where there are any, come first


def test_a_near_miss_in_a_cell_of_ones_own_is_refused():
    with pytest.raises(ParameterError, match="did you mean epochs"):
        RunParams.from_cells([DEFAULTS, "epoch = 9"])


def test_a_wrong_value_is_one_line_in_a_notebook_and_its_table_folds_what_is_as_by_default(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    for cell in ("# Parameters: x\nepochs = 0", "from labkit.params import RunParams\nRunParams.from_cells(In)"):
        shell.run_cell(cell, store_history=True)
    assert capsys.readouterr().out.strip().splitlines() == [
        "ParameterError: notebook parameters: epochs: got 0, allowed: a whole number, at least 1, at most 10000"
    ]
    inside = str(PROJECT / "reports" / "s" / "runs" / "a-seed0" / "model.safetensors")
    assert ">reports/s/runs/a-seed0/model.safetensors<" in RunParams(weights=inside)._repr_html_()
    shown, folded = RunParams(epochs=7)._repr_html_().split("<details>")
    assert shown.count("<tr>") == 1 and ">7</td>" in shown
    assert folded.count("<tr>") == len(RunParams.model_fields) - 1 and "54 parameters as by default" in folded


def test_a_parameters_cell_that_computes_is_refused():
    with pytest.raises(ParameterError, match="name = literal"):
        RunParams.from_cells(["# Parameters: x\nepochs = 1 + len('a')"])


def test_no_cell_of_train_gives_a_parameters_name_to_something_else():
    """Or the parameters cell, run again by itself, would replace what later cells have made; a run is opened anew."""
    notebook = json.loads((PROJECT / "notebooks" / "train.ipynb").read_text())["cells"]
    code = [cell for cell in notebook if cell["cell_type"] == "code" and cell["metadata"].get("tags") != ["parameters"]]
    body = [node for cell in code for node in ast.parse("".join(cell["source"])).body if isinstance(node, ast.Assign)]
    made = {target.id for node in body for target in node.targets if isinstance(target, ast.Name)}
    assert made & RunParams.model_fields.keys() == {"run"}
