"""Ctrl-C and SIGTERM to a study: its runs save how far they are, nothing stays behind, and the same command goes on."""

import os
import signal
from pathlib import Path

import pytest
from made_study import Lab, assert_nothing_left, at_word, same_results

from labkit.cli import main
from labkit.runs.folder import state

CALL = ("run", "tiny", "-p", "epochs", "3", "-p", "batch_size", "4")


def test_sigterm_is_answered_as_ctrl_c_is_and_the_former_answer_comes_back(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("labkit.commands.run.main", lambda arguments: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["run", "tiny"]) == 143
    assert "stopped; run the same command again to continue" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Lab:
    """Where the study was never stopped."""
    lab = Lab.of_this_project(tmp_path_factory.mktemp("whole"))
    done = lab.call(*CALL)
    assert done.returncode == 0, done.stderr
    return lab


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_study_that_is_stopped_saves_and_goes_on_to_the_same_bytes(number, code, whole, tmp_path):
    """The signal goes to the whole group of processes, as a terminal and a batch system send it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job ignores it, and so would ours
    lab = Lab(whole.project, tmp_path / "stopped", whole.cache)
    study = lab.start(*CALL)
    at_word("epoch 1/3")(study)
    os.killpg(study.process.pid, number)
    assert study.process.wait() == code
    assert any("the runs save how far they are" in line for line in study.lines())
    assert study.lines()[-1] == "labkit: stopped; run the same command again to continue"
    folder = lab.reports / "tiny" / "runs" / "resnet18-scratch-seed0"
    assert state(folder) == "interrupted" and (folder / "checkpoint.pt").is_file()
    assert not list(folder.glob(".*.tmp")) and not kernels_of(lab.reports)
    again = lab.call(*CALL)
    assert again.returncode == 0 and "going on after" in again.stdout, again.stdout + again.stderr
    for run in ("resnet18-scratch-seed0", "resnet18-finetuned-seed0"):
        assert not list(same_results(folder.parent / run, whole.reports / "tiny" / "runs" / run)), run
    assert_nothing_left(lab.reports)


def kernels_of(root: Path) -> list[str]:
    """Processes that still know of this reports folder, but us and what we started ourselves."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        except OSError:  # gone, or not ours
            continue
        if str(root).encode() in environment and b"labkit" in command and int(process.name) != os.getpid():
            found.append(command.decode())
    return found
