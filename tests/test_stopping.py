"""Ctrl-C and SIGTERM to a study: its runs save how far they are, nothing stays behind, and the same command goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labkit import runs
from labkit.cli import main
from labkit.params import PROJECT

CALL = [sys.executable, "-m", "labkit.cli", "run", "tiny", "-p", "epochs", "3", "-p", "batch_size", "4"]
FILES = ("history.csv", "predictions.csv", "metrics.json", "model.safetensors")


def test_sigterm_is_answered_as_ctrl_c_is_and_the_former_answer_comes_back(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("labkit.cli._run", lambda arguments: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["run", "tiny"]) == 143
    assert "stopped; the same command goes on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache) -> Path:
    """The reports folder of a study that was never stopped."""
    root = tmp_path_factory.mktemp("whole")
    environment = os.environ | {"LABKIT_REPORTS": str(root), "LABKIT_CACHE": str(cache)}
    subprocess.run(CALL, cwd=PROJECT, env=environment, check=True, capture_output=True)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_study_that_is_stopped_saves_and_goes_on_to_the_same_bytes(number, code, whole, cache, monkeypatch):
    """The signal goes to the whole group of processes, as a terminal and a batch system send it."""
    monkeypatch.setenv("LABKIT_CACHE", str(cache))
    study = subprocess.Popen(
        CALL, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    next(line for line in study.stdout if "epoch 1/3" in line)
    os.killpg(study.pid, number)
    _, errors = study.communicate()
    assert study.returncode == code and "the runs save how far they are" in errors
    assert errors.strip().splitlines()[-1] == "labkit: stopped; the same command goes on where its runs stopped"
    folder = runs.reports_root() / "tiny" / "runs" / "resnet18-scratch-seed0"
    assert runs.state(folder) == "interrupted" and (folder / "checkpoint.pt").is_file()
    assert not list(folder.glob(".*.tmp")) and not kernels_of(folder.parents[2])
    again = subprocess.run(CALL, cwd=PROJECT, capture_output=True, text=True)
    assert again.returncode == 0 and "going on after" in again.stdout, again.stdout + again.stderr
    for run in ("resnet18-scratch-seed0", "resnet18-finetuned-seed0"):
        for name in FILES:
            made, kept = (root / "tiny" / "runs" / run / name for root in (folder.parents[2], whole))
            assert made.read_bytes() == kept.read_bytes(), (run, name)


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
