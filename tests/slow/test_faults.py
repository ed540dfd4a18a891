"""kill -9 of the kernel, of what drives it and of make, at seeded moments: the same command then ends with the bytes of
a run that nothing happened to.

One study is killed up to ten times in succession, each call at another moment, until a last one may finish.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock
from made_study import (
    Call,
    Lab,
    Moment,
    after_lines,
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
EPOCHS = 6
KERNEL_DIED = "the kernel died; was it killed, or out of memory?"


def early(seed: int) -> list[Moment]:
    """Moments of a training, in an order of their own: at most four epochs are finished between them."""
    draw = random.Random(seed)
    moments = [
        after_seconds(draw.uniform(0.2, 2.0)),  # imports, data
        after_lines(draw.randint(1, 3)),
        at_change("*checkpoint.pt*"),  # while it is written
        then(at_change("*checkpoint.pt*"), after_seconds(draw.uniform(0.0, 0.2))),
        then(at_word("| "), after_seconds(draw.uniform(0.0, 0.5))),  # inside the epoch after
        at_change("*history.csv*", draw.randint(1, 2)),  # before the checkpoint that belongs to it
        at_change("*run.json*", draw.randint(1, 2)),
    ]
    return draw.sample(moments, len(moments))


LATE = [at_change("*model.safetensors*"), at_change("*predictions.csv*"), at_change("*metrics.json*")]
RENDERING = [
    at_change("*compare.html*"),  # both notebooks run beside
    at_change("report.json"),
    at_change("*report.html*"),
]


def killed_at(lab: Lab, command: Sequence[str], whom: str, moments: Sequence[Moment]) -> list[Call]:
    """One call a moment, each killed at it; what a reader would open is whole right after."""
    calls = []
    for moment in moments:
        call = lab.start(*command)
        moment(call)
        call.kill(whom)
        assert_whole(lab.reports)
        calls.append(call)
    return calls


def finishes(lab: Lab, whole: Path, *command: str) -> Path:
    """The same command once more: it ends, with the same bytes, and leaves nothing behind."""
    done = lab.call(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = lab.reports / "small" / "runs" / "a-seed0"
    assert list(same_results(folder, whole)) == []
    assert_nothing_left(lab.reports)
    assert notebook_complete(folder / "train.ipynb")
    return folder


def test_killed_ten_times_with_what_drives_the_kernel_a_run_ends_as_if_it_never_was(other, whole):
    killed_at(other, ["run", "small"], "labkit", early(1) + LATE)
    folder = finishes(other, whole, "run", "small")
    assert read_json(folder / "run.json")["attempts"] >= 5  # the first two kills may come before it is opened


def test_killed_seven_times_the_kernel_is_a_failed_run_each_time_and_then_a_finished_one(other, whole):
    for call in killed_at(other, ["run", "small"], "kernel", early(2)[:4] + LATE):
        assert call.process.returncode == 1, call.lines()
        assert any(KERNEL_DIED in line for line in call.lines())
    finishes(other, whole, "run", "small")


def test_killed_while_the_report_is_made_it_is_made_by_the_same_command(other, whole):
    command = ["report", "small", "--no-pdf"]
    killed_at(other, command, "labkit", [at_change("*model.safetensors*"), *RENDERING])
    finishes(other, whole, *command)
    assert (other.reports / "small" / "report.html").stat().st_size > 100_000


def test_killed_the_kernels_of_the_report_say_so_and_the_same_command_makes_it(other, whole):
    command = ["report", "small", "--no-pdf"]
    assert other.call("run", "small").returncode == 0
    # Both notebooks run side by side: the one whose kernel is killed first is the one that the second call makes.
    for call in killed_at(other, command, "kernel", [at_word(".ipynb")] * 2):
        assert call.process.returncode == 2, call.lines()
        assert any(KERNEL_DIED in line for line in call.lines())
    finishes(other, whole, *command)


def test_killed_make_leaves_its_study_running_which_the_next_call_names_and_waits_for(other, whole):
    """Make takes nobody with it: what it has started goes on, alone, until it ends or is killed too."""
    command = ["make", "report", "STUDY=small"]
    moments = [at_change("*checkpoint.pt*"), at_change("*predictions.csv*"), at_word("analysis.ipynb")]
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


def test_a_lock_file_without_a_process_locks_nothing(other, whole):
    """What a machine leaves that loses its power: lock files, and a manifest that says running."""
    folder = other.reports / "small" / "runs" / "a-seed0"
    call = other.start("run", "small")
    at_word("| ")(call)
    call.kill("labkit")
    assert (folder / ".lock").exists() and (other.reports / "small" / ".lock").exists()
    assert state(folder) == "interrupted"
    with FileLock(other.reports / "small" / ".lock").acquire(timeout=0):
        pass
    finishes(other, whole, "run", "small")


def test_results_are_what_is_compared(whole):
    assert all(results(whole).values())
