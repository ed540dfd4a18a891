import pytest

from labkit.params import PROJECT, ParameterError, RunParams, assigned_literals
from labkit.studies import load_study

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
        ({"class_weights": "blanced"}, ["class_weights", "'blanced'", "none, balanced or a list of numbers"]),
        ({"class_weights": [1.0, -2.0]}, ["class_weights", "-2.0", "positive"]),
        ({"crop_size": 128, "image_size": 64}, ["crop_size", "128", "at most image_size (64)"]),
        ({"freeze_epochs": 3, "epochs": 2, "weights": "x.pt"}, ["freeze_epochs", "3", "at most epochs (2)"]),
        ({"freeze_epochs": 1}, ["freeze_epochs", "weights"]),
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


def test_a_parameters_cell_that_computes_is_refused():
    with pytest.raises(ParameterError, match="name = literal"):
        RunParams.from_cells(["# Parameters: x\nepochs = 1 + len('a')"])


@pytest.mark.parametrize("path", sorted((PROJECT / "params").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_study_file_is_valid(path):
    study = load_study(str(path.relative_to(PROJECT / "params").with_suffix("")))
    runs = study.run_params()
    assert {run.run for run in runs} == set(study.runs) | set(study.sources)


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.studies.PROJECT", tmp_path)
    (tmp_path / "params").mkdir()

    def write(text: str):
        (tmp_path / "params" / "s.yaml").write_text("title: t\nquestion: q\n" + text)
        return load_study("s")

    return write


def test_parents_run_before_their_children(study_file):
    study = study_file("runs:\n  b: {weights: 'run:a'}\n  a: {}\n")
    assert [params.run for params in study.run_params()] == ["a", "b"]


def test_numbers_with_an_exponent_are_numbers(study_file):
    assert study_file("runs:\n  a: {learning_rate: 1e-3}\n").runs["a"]["learning_rate"] == 1e-3


def test_data_from_the_command_line_leaves_the_sources_alone(study_file):
    study = study_file("sources:\n  s: {data: demo-source}\nruns:\n  a: {weights: 'run:s'}\n")
    assert {params.run: params.data for params in study.run_params({"data": "mine"})} == {
        "s": "demo-source",
        "a": "mine",
    }


def test_children_start_from_their_own_seed_of_a_run_and_from_the_first_of_a_source(study_file):
    study = study_file("seeds: [1, 2]\nsources:\n  s: {}\nruns:\n  a: {weights: 'run:s'}\n  b: {weights: 'run:a'}\n")
    starts = {f"{params.run}-seed{params.seed}": params.weights for params in study.run_params()}
    assert starts == {
        "s-seed1": None,
        "a-seed1": "run:s-seed1",
        "a-seed2": "run:s-seed1",
        "b-seed1": "run:a-seed1",
        "b-seed2": "run:a-seed2",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("runs:\n  a: {weights: 'run:b'}\n  b: {weights: 'run:a'}\n", "circle"),
        ("runs:\n  a: {weights: 'run:z'}\n", "no run 'z'"),
        ("runs:\n  a: {}\n  a: {}\n", "given twice"),
        ("runs: {}\n", "runs"),
        ("default: {}\nruns:\n  a: {}\n", "default"),
        ("runs:\n  a: {epoch: 1}\n", "run a: epoch"),
        ("runs: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_study_file_is_refused_by_name(study_file, text, words):
    with pytest.raises(ParameterError) as error:
        study_file(text).run_params()
    assert words in str(error.value) and "params/s.yaml" in str(error.value)


def test_an_unknown_study_lists_those_there_are():
    with pytest.raises(ParameterError, match=r"no study 'dmeo'.*demo"):
        load_study("dmeo")
