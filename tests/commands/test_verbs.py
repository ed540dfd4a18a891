"""Every verb: `--help` ends in an example that its own parser takes; `labkit studies` lists what can be run."""

import os
import shlex
import subprocess
import sys

import pytest

from labkit.cli import VERBS, main, parser
from labkit.params import PROJECT
from labkit.studies.file import load_study


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_in_an_example_that_works(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    *_, heading, example = capsys.readouterr().out.splitlines()
    program, *words = shlex.split(example)
    assert stopped.value.code == 0 and heading == "example:" and program == "labkit" and words[0] == verb
    arguments = parser(verb).parse_args(words)
    assert callable(arguments.main)
    study = getattr(arguments, "study", None)
    if verb != "new" and study:
        runs = load_study(study).runs
        assert verb != "verify" or arguments.run in runs


def test_the_list_of_verbs_needs_no_verb(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"    {verb} " in said for verb in VERBS)
    with pytest.raises(SystemExit) as stopped:
        main(["bench"])
    assert stopped.value.code == 2 and "invalid choice: 'bench'" in capsys.readouterr().err


def test_studies_are_listed_with_their_runs_and_titles(capsys):
    assert main(["studies"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    folder = PROJECT / "params"
    files = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    assert lines.keys() == files
    assert lines["tiny"].split(maxsplit=3)[1:] == ["2", "runs", "Two tiny runs"]
    assert lines["demo"].split()[1] == "7" and load_study("demo").title in lines["demo"]


def test_a_study_file_that_is_not_valid_is_named_and_the_others_are_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("labkit.studies.file.PROJECT", tmp_path)
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "good.yaml").write_text("title: t\nquestion: q\nruns: {a: {}}\n")
    (tmp_path / "params" / "bad.yaml").write_text("runs: [\n")
    assert main(["studies"]) == 1
    said = capsys.readouterr()
    assert said.out == "good    1 run   t\n"
    assert said.err.startswith("labkit: params/bad.yaml, line 2") and said.err.count("\n") == 1


def test_a_reader_of_the_lines_that_goes_is_no_error():
    """As `head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "labkit.cli", "studies"]
    done = subprocess.run(command, cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (141, "")
