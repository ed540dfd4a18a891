"""Parameters out of range, of the wrong type, or as YAML and Papermill garble them: one line with field, value and what
is allowed; study files that cannot be right: file and key."""

import types
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.data.source import as_parameters
from labkit.params import PROJECT, ExploreParams, ParameterError, RunParams, refuse_url
from labkit.runs.folder import cache_root, reports_root
from labkit.studies.file import load_study, value_of

FIELDS = RunParams.model_fields
BOUNDS = ("ge", "gt", "le", "lt")


def refusal(values: dict[str, Any], params=RunParams) -> str:
    with pytest.raises(ParameterError) as error:
        params.of(values)
    return str(error.value)


def limits(name: str) -> dict[str, float]:
    """Which bounds a field has: ge, gt, le, lt."""
    return {key: getattr(part, key) for part in FIELDS[name].metadata for key in BOUNDS if hasattr(part, key)}


def words(name: str) -> set[str]:
    """The words that a field takes, if it is a choice."""
    annotation = FIELDS[name].annotation
    literals = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal]
    return {word for literal in literals for word in get_args(literal)}


def out_of_range(name: str) -> st.SearchStrategy:
    """Values beyond a field's limits, in its own type; for a choice, other words."""
    annotation, bounds = FIELDS[name].annotation, limits(name)
    if choices := words(name):
        return st.text(max_size=12).filter(lambda text: text not in choices and not text.strip().startswith("["))
    whole = annotation is int or int in get_args(annotation)
    numbers: list[st.SearchStrategy] = []
    if low := [bounds[key] for key in ("ge", "gt") if key in bounds]:
        top = low[0] - 1 if whole else low[0]
        below = st.integers(max_value=int(top)) if whole else st.floats(max_value=top, exclude_max="ge" in bounds)
        numbers.append(below)
    if high := [bounds[key] for key in ("le", "lt") if key in bounds]:
        bottom = high[0] + 1 if whole else high[0]
        above = st.integers(min_value=int(bottom)) if whole else st.floats(min_value=bottom, exclude_min="le" in bounds)
        numbers.append(above)
    return st.one_of(*numbers, st.just(float("nan")))


OWN = {"rotation", "class_weights", "class_names"}  # checked by a function
BOUNDED = [name for name in FIELDS if name not in OWN and (limits(name) or words(name))]


def test_all_fields_but_free_text_and_switches_have_limits():
    free = {"study", "run", "dataset", "data", "weights", "parent", "labels", "suffix", "positive_class"}
    free |= {name for name in FIELDS if name.endswith(("_column", "_pattern"))}  # the first two have a pattern
    switches = {name for name, field in FIELDS.items() if field.annotation is bool}
    assert set(FIELDS) - free - OWN - switches == set(BOUNDED)


@pytest.mark.parametrize("name", BOUNDED)
@given(data=st.data())
def test_a_value_out_of_range_is_refused_in_a_line_that_names_field_value_and_what_is_allowed(name, data):
    value = data.draw(out_of_range(name))
    lines = refusal({name: value}).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}: got ") and "allowed: " in lines[0] and len(lines[0]) < 600


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


@pytest.mark.parametrize("name", FIELDS)
@given(value=ANYTHING)
def test_whatever_a_field_is_given_it_is_taken_or_refused_by_its_name(name, value):
    try:
        params = RunParams.of({name: value})
    except ParameterError as error:
        assert str(error).splitlines()[0].partition(":")[0] in FIELDS
    else:
        again = RunParams.of(params.model_dump())
        assert again == params  # what was taken is what params.yaml gives back


@given(name=st.text(min_size=1, max_size=20).filter(lambda name: name not in FIELDS))
def test_a_name_that_is_no_parameter_is_refused(name):
    said = refusal({name: 1})
    assert "there is no such parameter" in said and ("did you mean" in said or "allowed: " in said)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate", "1e-3", 1e-3),
        ("learning_rate", "1E-4", 1e-4),
        ("weights", "None", None),
        ("weights", " null ", None),
        ("crop_size", "none", None),
        ("class_weights", "[1.2, 1.0]", [1.2, 1.0]),
        ("class_weights", "[1, 2]", [1.0, 2.0]),
        ("rotation", "[-90, 90]", [-90.0, 90.0]),
        ("rotation", "90", 90.0),
        ("epochs", "3", 3),
        ("epochs", 3.0, 3),
        ("horizontal_flip", "false", False),
        ("run", 50, "50"),
        ("class_names", "['mild', 'severe']", ["mild", "severe"]),
        ("class_names", [0, 1], ["0", "1"]),
        ("group_pattern", r"[a-z]+(?P<group>\d+)", r"[a-z]+(?P<group>\d+)"),
    ],
)
def test_values_are_taken_as_yaml_papermill_and_shells_hand_them_over(name, value, expected):
    assert getattr(RunParams.of({name: value}), name) == expected


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("class_weights", "[1.2", "'[1.2'"),
        ("class_weights", "[" * 5000, "…"),
        ("class_weights", [float("nan"), 1.0], "positive numbers"),
        ("class_weights", [float("inf"), 1.0], "positive numbers"),
        ("class_weights", [], "positive numbers"),
        ("class_weights", "[]", "positive numbers"),
        ("rotation", [0, float("nan")], "[from, to]"),
        ("rotation", float("nan"), "between 0 and 180"),
        ("rotation", [0, 1, 2], "[from, to]"),
        ("epochs", 10**400, "at most 10000"),
        ("epochs", "1e3", "a whole number"),
        ("epochs", None, "a whole number"),
        ("seed", False, "True and False are not numbers"),
        ("run", "a/b", "letters, digits"),
        ("study", "/etc/x", "letters, digits"),
        ("study", "a/../b", "letters, digits"),
        ("run", "-rf", "letters, digits"),
        ("data", 3.5j, "text"),
        ("labels", "", "text"),
        ("group_pattern", "(", "not a regular expression"),
        ("group_pattern", r"(\d+)_", "(?P<group>…)"),
        ("group_pattern", r"(?P<group>\d+)_(?P<eye>l|r)", "(?P<side>…)"),
        ("suffix", "png", "begins with a dot"),
        ("class_names", ["a"], "two or more different names"),
        ("class_names", ["a b", "A  B"], "a list of names"),
        ("positive_class", False, "need quotes"),
        ("class_names", [False, True], "quotes"),
        ("task", "grade", "one of grades, classes"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name, value, words):
    said = refusal({name: value})
    assert said.startswith(f"{name}: got ") and words in said and "\n" not in said


# --- URLs -------------------------------------------------------------------------------------------------------------

URLS = ["http://a.b/c", "https://a.b/c", "s3://bucket/eyes", "gs://b/c", "memory://x", "file:///data", "abfs://c@d/e"]


@pytest.mark.parametrize("url", URLS)
def test_data_at_a_url_is_refused_with_the_cure(url):
    for refused in (
        lambda: RunParams.of({"data": url}),
        lambda: ExploreParams.of({"data": url}),
        lambda: RunParams.of({"weights": url}),
        lambda: as_parameters(url),
    ):
        with pytest.raises(ParameterError) as error:
            refused()
        assert url in str(error.value) and "a shared one" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("url", URLS)
def test_reports_and_cache_at_a_url_are_refused_and_no_folder_of_that_name_appears(url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, root in (("LABKIT_REPORTS", reports_root), ("LABKIT_CACHE", cache_root)):
        monkeypatch.setenv(name, url)
        with pytest.raises(ParameterError, match=f"{name}: got '{url}'"):
            root()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["demo", "/data/eyes", "C:\\data", "C:/data", "a:b", "./x//y", "", "run:a-seed0"])
def test_places_that_are_no_urls_are_left_alone(place):
    assert refuse_url(place, "data") == place


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "tiny", "--data", "s3://bucket/eyes"], "data: got 's3://bucket/eyes', which is a URL"),
        (["new", "mine", "--data", "gs://a/b"], "data: got 'gs://a/b', which is a URL"),
        (["prepare", "s3://a/b", "out"], "which is a URL"),
        (["run", "tiny", "-p", "class_weights", "[1.2"], "-p: got '[1.2', line 1, column 5: not valid YAML"),
        (["run", "tiny", "-p", "epochs", "!!python/name:os.system"], "not valid YAML"),
        (["run", "../../etc/passwd"], "study: got '../../etc/passwd'"),
        (["run", "/etc/passwd"], "study: got '/etc/passwd'"),
        (["run", "tiny", "-p", "epoch", "3"], "epoch: got 3, but there is no such parameter; did you mean epochs?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_shell_is_told_in_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    from labkit.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert list(tmp_path.rglob("*.png")) == [] and not (PROJECT / "params/mine.yaml").exists()


def test_reports_at_a_url_end_in_one_line_and_not_in_a_traceback(monkeypatch, capsys):
    from labkit.cli import main

    monkeypatch.setenv("LABKIT_REPORTS", "s3://bucket/reports")
    assert main(["run", "tiny"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("labkit: LABKIT_REPORTS: got 's3://bucket/reports', which is a URL")
    assert said.count("\n") == 1 and not (PROJECT / "s3:").exists()


# --- study files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def write_study(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.studies.file.PROJECT", tmp_path)
    (tmp_path / "params").mkdir()

    def write(text: str | bytes):
        content = text if isinstance(text, bytes) else f"title: t\nquestion: q\n{text}".encode()
        (tmp_path / "params" / "s.yaml").write_bytes(content)
        return load_study("s").run_params()

    return write


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("default: {}\nruns: {a: {}}\n", "default: there is no such key; did you mean defaults?"),
        ("colour: red\nruns: {a: {}}\n", "colour: there is no such key; allowed: "),
        ("runs:\n  a:\n", "runs.a: empty; for a run of the defaults alone write a: {}"),
        ("runs: [a, b]\n", "runs: "),
        ("runs: {a: [\n", "s.yaml, line 4, column 1: not valid YAML: "),
        ("runs:\n\ta: {}\n", "line 4, column 1: not valid YAML"),
        ("runs: {a: !!python/object/apply:os.system ['touch harmed']}\n", "not valid YAML: could not determine"),
        ("runs: {a: {}}\nname: other\n", "'name' is no key of a study"),
        ("runs: {a: {}}\n1: x\n", "1 is no key of a study"),
        ("runs: {a: {weights: 'run:b'}, b: {weights: 'run:c'}, c: {weights: 'run:a'}}\n", "in a circle: a → b → c → a"),
        ("runs: {a: {weights: 'run:a'}}\n", "in a circle: a → a"),
        ("runs: {a: {weights: 'run:z-seed3'}}\n", "the study has no run 'z'; it has a"),
        ("runs: {a: {}}\nseeds: []\n", "seeds: "),
        ("runs: {a: {}}\nseeds: [one]\n", "seeds.0: "),
        ("runs: {'a/../b': {}}\n", "run a/../b: run: got 'a/../b'"),
        ("runs: {a: {data: 's3://b/c'}}\n", "run a: data: got 's3://b/c', which is a URL"),
        ("runs: {a: {learning_rate: 1e-3x}}\n", "run a: learning_rate: got '1e-3x'"),
        ("runs: {a: {class_weights: {a: 1}}}\n", "run a: class_weights: got {'a': 1}"),
        (b"title: caf\xe9\nquestion: q\nruns: {a: {}}\n", "s.yaml, line 1: not a text in UTF-8"),
        (b"", "expected keys such as title"),
        (b"- a\n", "expected keys such as title"),
    ],
)
def test_a_study_file_that_cannot_be_right_is_refused_in_one_line(write_study, tmp_path, text, words):
    with pytest.raises(ParameterError) as error:
        write_study(text)
    assert "params/s.yaml" in str(error.value) and words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "harmed").exists() and not (PROJECT / "harmed").exists()


def test_yamls_own_words_for_numbers_nothing_and_lists(write_study):
    text = (
        "runs: {a: {learning_rate: 1e-3, weights: None, class_weights: '[1.2, 1.0]', crop_size: ~, rotation: [0, 9]}}\n"
    )
    (run,) = write_study(text)
    assert (run.learning_rate, run.weights, run.class_weights) == (1e-3, None, [1.2, 1.0])
    assert run.crop_size is None and run.rotation == [0.0, 9.0]


@given(text=st.text(max_size=60) | st.binary(max_size=60))
def test_whatever_a_study_file_holds_is_refused_by_its_name(text):
    """In a folder of its own: what is generated may be a valid study only by naming runs."""
    import tempfile
    from pathlib import Path
    from unittest.mock import patch

    with tempfile.TemporaryDirectory() as folder, patch("labkit.studies.file.PROJECT", Path(folder)):
        path = Path(folder) / "params" / "s.yaml"
        path.parent.mkdir()
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        with pytest.raises(ParameterError, match=r"params/s\.yaml"):
            load_study("s")


@given(text=st.text(max_size=30))
def test_whatever_the_shell_hands_over_is_a_value_or_refused(text):
    try:
        value = value_of(text)
    except ParameterError as error:
        assert "not valid YAML" in str(error) and "\n" not in str(error)
    else:
        assert not isinstance(value, types.ModuleType)
