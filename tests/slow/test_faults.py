"""kill -9 of the kernel, of what drives it and of make, at chosen moments: the same command then ends with the bytes of
a run that nothing happened to.

One study is killed several times in succession, each call at another moment, until a last one may finish.
"""

import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from made_study import (
    Call,
    Lab,
    Moment,
    after_seconds,
    assert_nothing_left,
    assert_whole,
    at_change,
    at_word,
    results,
    same_results,
    then,
    wait_for,
)

from labkit.runs.files import read_json
from labkit.runs.folder import notebook_complete, state

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart as Linux shows them")
EPOCHS = 5  # at most four are finished between the kills
KERNEL_DIED = "the kernel died; was it killed, or out of memory?"
INSIDE = then(at_word("| "), after_seconds(0.1))  # an epoch
KILLS = [  # whom, and when: a file's moment is while its temporary file is written, or right after
    ("labkit", after_seconds(1.0)),  # imports, data
    ("labkit", at_change("*checkpoint.pt*")),
    ("kernel", INSIDE),
    ("labkit", at_change("*history.csv*")),  # before the checkpoint that belongs to it
    ("labkit", INSIDE),
    ("kernel", at_change("*model.safetensors*")),
    ("labkit", at_change("*predictions.csv*")),
    ("kernel", at_change("*metrics.json*")),
]
KILLS_OF_THE_REPORT = [
    ("labkit", at_change("*compare.html*")),  # explore and analysis run beside
    ("kernel", at_word(".ipynb")),  # of one of them, or of both
    ("labkit", at_change("report.json")),
    ("labkit", at_change("*report.html*")),
]


def killed(lab: Lab, command: tuple[str, ...], whom: str, moment: Moment, code: int) -> Call:
    """One call, killed; what a reader would open is whole right after. Without its kernel it says so, and ends."""
    call = lab.start(*command)
    moment(call)
    call.kill(whom)
    assert_whole(lab.reports)
    if whom == "kernel":
        assert call.process.returncode == code and any(KERNEL_DIED in line for line in call.lines()), call.lines()
    return call


def finishes(lab: Lab, whole: Path, *command: str) -> Path:
    """The same command once more: it ends, with the same bytes, and leaves nothing behind."""
    done = lab.call(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = lab.reports / "small" / "runs" / "a-seed0"
    assert list(same_results(folder, whole)) == []
    assert_nothing_left(lab.reports)
    assert notebook_complete(folder / "train.ipynb")
    return folder


def test_killed_eight_times_a_run_ends_as_if_it_never_was(other, whole):
    """Each time a failed or an interrupted run, whose lock files lock nothing: as a machine leaves that loses power."""
    folder = other.reports / "small" / "runs" / "a-seed0"
    for whom, moment in KILLS:
        killed(other, ("run", "small"), whom, moment, 1)
        if moment is INSIDE:
            assert state(folder) == ("failed" if whom == "kernel" else "interrupted")
            for lock in (folder / ".lock", other.reports / "small" / ".lock"):
                FileLock(lock).acquire(timeout=0).lock.release()
    finishes(other, whole, "run", "small")
    assert read_json(folder / "run.json")["attempts"] >= 5  # a kill may come before it is opened


def test_killed_while_the_report_is_made_it_is_made_by_the_same_command(other, whole):
    command = ("report", "small", "--no-pdf")
    shutil.copytree(whole, other.reports / "small" / "runs" / "a-seed0")
    for whom, moment in KILLS_OF_THE_REPORT:
        killed(other, command, whom, moment, 2)
    finishes(other, whole, *command)
    assert (other.reports / "small" / "report.html").stat().st_size > 100_000


def test_killed_make_leaves_its_study_running_which_the_next_call_names_and_waits_for(other, whole):
    """Make takes nobody with it: what it has started goes on, alone, until it ends or is killed too."""
    command = ["make", "report", "STUDY=small"]
    moments = [at_change("*checkpoint.pt*"), at_word("analysis.ipynb")]
    for moment in moments:
        call = other.start(*command)
        moment(call)
        (driver,) = call.labkit()
        call.kill("make")
        refused = other.call(*command)
        assert refused.returncode == 2 and "study small is being run by another process; wait for it" in refused.stderr
        rest = [driver, *driver.children(recursive=True)]
        if moment is not moments[-1]:
            driver.kill()
        wait_for(rest)
        assert_whole(other.reports)
    assert (other.reports / "small" / "report.html").is_file()  # by the one that was left alone
    finishes(other, whole, *command)


def test_a_kernel_that_outlives_what_drove_it_is_named_and_harms_nothing(other, whole):
    """Stopped, it cannot follow its Papermill; it holds the run's folder until it goes."""
    call = other.start("run", "small")
    then(at_change("*checkpoint.pt*", 2), at_word("| "))(call)
    (kernel,) = call.kernels()
    (driver,) = call.labkit()
    kernel.suspend()
    driver.kill()
    call.process.wait()
    folder = other.reports / "small" / "runs" / "a-seed0"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".json", ".csv", ".pt")}
    refused = other.call("run", "small")
    assert refused.returncode == 1 and f"{folder} is locked by another process" in refused.stderr
    assert {name: (folder / name).read_bytes() for name in before} == before
    kernel.resume()
    wait_for([kernel])
    finishes(other, whole, "run", "small")


def test_results_are_what_is_compared(whole):
    assert all(results(whole).values())
