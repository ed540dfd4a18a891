"""Study files: parents first, a small form, runs made again under the honest protocol, and mistakes named by file."""

import re

import pytest

from labkit.params import PROJECT, ParameterError
from labkit.runs.folder import reports_root
from labkit.studies.file import SMALL, load_study, name_of, value_of
from labkit.studies.runner import StudyRunner


@pytest.mark.parametrize("path", sorted((PROJECT / "params").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_study_file_is_valid(path):
    study = load_study(str(path.relative_to(PROJECT / "params").with_suffix("")))
    runs = study.run_params()
    assert {run.run for run in runs} == set(study.table())


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.studies.file.PROJECT", tmp_path)
    (tmp_path / "params").mkdir()

    def write(text: str):
        (tmp_path / "params" / "s.yaml").write_text("title: t\nquestion: q\n" + text)
        return load_study("s")

    return write


def test_parents_run_before_their_children(study_file):
    study = study_file("runs:\n  b: {weights: 'run:a'}\n  a: {}\n")
    assert [params.run for params in study.run_params()] == ["a", "b"]


def test_a_label_is_no_parameter_and_survives_in_the_small_form(study_file):
    text = "runs:\n  a: {%sepochs: 2}\n  b: {}\nsmall: {epochs: 1}\n"
    plain, named = study_file(text % "").run_params(), study_file(text % "label: A net, ")
    assert named.run_params() == plain and named.shrunk().labels == {"a": "A net", "b": "b"} == named.labels


@pytest.mark.parametrize(
    ("rows", "sets"),
    [
        ("  b: {split_seed: 1}\n", [["a"], ["b"]]),
        ("  b: {split: image, val_fraction: 0.2}\n  c: {epochs: 2}\n", [["a", "c"], ["b"]]),
        ("  b: {split: given}\n  c: {split: given, split_seed: 1, val_fraction: 0.2}\n", [["a"], ["b", "c"]]),
        ("  b: {data: /nowhere}\n", [["a", "b"]]),  # other data: told when it has been read
        ("  b: {select_on: last, train_on: train+val}\n", [["a", "b"]]),
        ("sources:\n  s: {split_seed: 1}\nhonest: {a: {test_fraction: 0.3}}\n", [["a"]]),
    ],
)
def test_two_splits_are_told_before_training_and_the_runs_of_each_are_compared(study_file, rows, sets):
    study = study_file("runs:\n  a: {}\n" + rows)
    assert study.test_sets() == {names[0]: names for names in sets}
    told = " ".join(StudyRunner(study)._beforehand([]))
    assert told.endswith("also report-b.html") if len(sets) > 1 else told == ""


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
        ("runs:\n  a: {label: x}\n  b: {label: x}\n", "runs a and b are both called 'x'; give each its own label"),
        ("runs:\n  a: {label: b}\n  b: {}\n", "runs a and b are both called 'b'"),
        ("runs:\n  a: {label: 18}\n", "run a: label: got 18; write one line of text, in quotes"),
        ("runs: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_study_file_is_refused_by_name(study_file, text, words):
    with pytest.raises(ParameterError) as error:
        study_file(text).run_params()
    assert words in str(error.value) and "params/s.yaml" in str(error.value)


def test_a_study_may_be_given_by_the_path_of_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_STUDY", "")
    monkeypatch.setenv("LABKIT_REPORTS", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eyes").mkdir()
    (tmp_path / "own.yaml").write_text("title: t\nquestion: q\nruns: {a: {data: eyes}, b: {data: tiny}}\n")
    assert (
        name_of("params/own.yaml.v2") == "params/own.yaml.v2" and name_of(str(PROJECT / "params/tiny.yaml")) == "tiny"
    )
    assert name_of("own.yaml") == "own" and reports_root() == tmp_path / "reports"
    assert [run.data for run in load_study("own").run_params()] == [str(tmp_path / "eyes"), "tiny"]
    (tmp_path / "own.yaml").write_text("title: t\nquestion: q\nruns: {a: {epoch: 1}}\n")
    with pytest.raises(ParameterError, match=rf"^{tmp_path}/own\.yaml, run a: epoch"):
        load_study("own").run_params()
    with pytest.raises(ParameterError, match=r"study: got 'none\.yaml', but there is no such file"):
        name_of("none.yaml")


def test_two_study_files_of_one_name_do_not_share_a_report(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_STUDY", "")
    files = [tmp_path / "mine" / "s.yaml", tmp_path / "yours" / "s.yaml"]
    for file in files:
        file.parent.mkdir()
        file.write_text("title: t\nquestion: q\nruns: {a: {data: tiny}}\n")
        runner = StudyRunner(load_study(name_of(str(file))))
        if file == files[0]:
            with runner.alone():
                pass
    told = f"{files[1]}: {runner.folder} already has the runs and the report of {files[0]}; rename one of the files, or"
    with pytest.raises(ParameterError, match=re.escape(told)), runner.alone():
        pass
    files[0].rename(tmp_path / "moved.yaml")
    with runner.alone():
        pass


def test_an_unknown_study_lists_those_there_are():
    with pytest.raises(ParameterError, match=r"no study 'dmeo'.*demo"):
        load_study("dmeo")


SMALL_FORM = """
defaults: {data: big, image_size: 512, epochs: 15, select_on: test, split: given}
runs:
  scratch: {arch: resnet50}
  tuned: {arch: resnet50, weights: IMAGENET1K_V1, epochs: 8}
  other: {data: elsewhere, epochs: 3}
  heavy: {image_size: 1024}
honest: [scratch, tuned]
published: {source: r.txt, data: d, n: 10, scores: {scratch: 0.5, heavy: 0.6}}
small:
  data: demo
  image_size: {512: 64}
  epochs: {15: 2, 8: 1}
  weights: {IMAGENET1K_V1: "run:{arch}-source"}
  without: [heavy]
  honest: [tuned]
  sources: {resnet50-source: {arch: resnet50, data: demo-source}}
"""


def test_the_small_form_changes_what_it_names_and_keeps_the_rest(study_file):
    study_file(SMALL_FORM)
    small = {params.run: params for params in load_study(f"s{SMALL}").run_params()}
    assert set(small) == {"resnet50-source", "scratch", "tuned", "other", "tuned-honest"}
    assert (small["scratch"].data, small["scratch"].image_size, small["scratch"].epochs) == ("demo", 64, 2)
    assert (small["tuned"].epochs, small["other"].epochs) == (1, 3)  # a value that the mapping lacks stays
    assert small["tuned"].weights == "run:resnet50-source-seed0" and small["scratch"].weights is None
    assert small["scratch"].select_on == "test" and small["scratch"].study == f"s{SMALL}"
    assert small["resnet50-source"].select_on == "val"  # a source is trained on its own terms
    assert [one.scores for one in load_study(f"s{SMALL}").published] == [{"scratch": 0.5}]
    mine = {params.run: params.data for params in load_study(f"s{SMALL}").run_params({"data": "mine"})}
    assert mine.pop("resnet50-source") == "demo-source" and set(mine.values()) == {"mine"}


def test_a_study_without_a_small_form_says_so(study_file):
    study_file("runs:\n  a: {}\n")
    with pytest.raises(ParameterError, match="no `small`"):
        load_study(f"s{SMALL}")


def test_an_honest_run_keeps_patients_apart_and_starts_from_an_honest_parent(study_file):
    text = "defaults: {split: given, select_on: test, augment_test: true}\nruns:\n  a: {}\n  b: {weights: 'run:a'}\n"
    runs = {params.run: params for params in study_file(text + "honest: all\n").run_params()}
    assert (runs["a"].split, runs["a"].select_on, runs["a"].augment_test) == ("given", "test", True)
    for name in ("a-honest", "b-honest"):
        assert (runs[name].split, runs[name].select_on, runs[name].augment_test) == ("group", "val", False)
    asked = {params.run: params.split for params in load_study("s").run_params({"split": "image"})}
    assert asked == {"a": "image", "b": "image", "a-honest": "group", "b-honest": "group"}
    assert runs["b-honest"].weights == "run:a-honest-seed0" and runs["b"].weights == "run:a-seed0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("runs:\n  a: {}\nhonest: [b]\n", "honest names b"),
        ("runs:\n  a: {}\npublished: {source: r, data: d, n: 1, scores: {b: 0.5}}\n", "published names b"),
        (
            "runs:\n  a: {}\npublished:\n" + 2 * "  - {source: r, data: d, n: 1, scores: {}}\n",
            "published has accuracy twice",
        ),
        ("runs:\n  a: {}\nsmall: {epoch: 1}\n", "small names epoch"),
        ("sources:\n  a: {}\nruns:\n  a: {}\n", "a is both under sources and under runs"),
    ],
)
def test_what_a_study_says_of_runs_that_it_has_not_is_refused(study_file, text, words):
    with pytest.raises(ParameterError, match=words):
        study_file(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("1e-3", 1e-3), ("true", True), ("null", None), ("[1.2, 1.0]", [1.2, 1.0]), ("resnet18", "resnet18")],
)
def test_a_value_from_the_shell_is_read_as_a_study_file_reads_it(text, value):
    assert value_of(text) == value


def test_every_course_study_has_a_form_for_two_cores_without_a_download():
    for path in sorted((PROJECT / "params" / "course").glob("*.yaml")):
        small = load_study(f"course/{path.stem}{SMALL}")
        assert {params.data for params in small.run_params()} <= {"demo", "demo-source"}, path.name
        downloads = [
            p.run for p in small.run_params() if str(p.weights).startswith("IMAGENET") and "lite0" not in p.arch
        ]
        assert downloads == [], path.name
        assert small.seeds == [0] and small.run_params()
