"""What a machine does to a study that is no kill: a full disk or one that cannot be written to, too little memory, a
clock that jumps, a second call. One line names the file and the cure; then the same command ends with the right bytes.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_study import Lab, assert_nothing_left, at_word, same_results

from labkit.runs.files import read_json

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="disks are mounted and limits set as Linux does")
EPOCHS = 2


@pytest.fixture
def mounted(lab, tmp_path) -> Iterator[tuple[Lab, Callable[[str], None]]]:
    """The study with its reports on a small disk of its own, and what mounts that anew, with other options."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here; run as root")

    def again(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    yield Lab(lab.project, place / "reports", lab.cache), again
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def ends_well(lab: Lab, whole: Path) -> None:
    """The same command again: finished, with the bytes of a run that nothing happened to."""
    done = lab.call("run", "small")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(same_results(lab.reports / "small" / "runs" / "a-seed0", whole)) == []
    assert_nothing_left(lab.reports)


def one_line(stderr: str, *words: str) -> None:
    """The last line says all this, and there is no traceback above it."""
    last = stderr.strip().splitlines()[-1]
    assert "Traceback" not in stderr and [word for word in words if word not in last] == [], stderr


def test_what_another_launcher_left_in_the_environment_changes_nothing(other, whole):
    """Of `accelerate launch`, torchrun and mpirun at once: each variable is dropped by its name."""
    left = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_MIXED_PRECISION": "bf16"}
    left |= {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29513"}
    left |= {"PMI_SIZE": "2", "PMI_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    ends_well(Lab(other.project, other.reports, other.cache, environment=left), whole)


def test_too_little_shared_memory_for_the_workers_is_named_with_the_cure(other):
    """64 MB in Docker; less here, for less data."""
    mount = 'mount -t tmpfs -o size=400k none /dev/shm && exec "$@"'
    small = Lab(other.project, other.reports, other.cache, prefix=("unshare", "-m", "bash", "-c", mount, "bash"))
    if shutil.which("unshare") is None or small.call("--help").returncode:
        pytest.skip("nothing can be mounted here; run as root")
    done = small.call("run", "small", "-p", "num_workers", "2", "-p", "image_size", "256")
    assert done.returncode == 1
    one_line(done.stderr, "num_workers: got 2, but /dev/shm is too small", "set num_workers to 0", "--shm-size")


def test_a_disk_that_cannot_be_written_to_is_named_with_the_cure_until_it_can(mounted, whole):
    """Read-only; no room for the notebook; for a checkpoint (30 MB); for the next beside it (120 MB); then enough."""
    lab, mount = mounted
    folder = lab.reports / "small" / "runs" / "a-seed0"
    mount("ro,size=120k")
    done = lab.call("run", "small")
    assert done.returncode == 2
    one_line(done.stderr, str(lab.reports), "cannot be written (Read-only file system)", "mount it for writing")
    mount("rw")
    done = lab.call("run", "small")
    assert done.returncode in (1, 2)
    of_the_run = done.stderr.strip().splitlines()[0]  # below it, perhaps: nor can what was planned be written
    one_line(of_the_run, str(folder), "cannot be written (No space left", "free some")
    for size in ("30m", "120m"):
        mount(f"size={size}")
        done = lab.call("run", "small")
        assert done.returncode == 1
        one_line(done.stderr, f"{folder / 'checkpoint.pt'}: cannot be written (No space left on device); free some")
        assert read_json(folder / "run.json")["status"] == "failed" and list(folder.glob(".*.tmp")) == []
    mount("size=1g")
    ends_well(lab, whole)


def test_a_folder_of_somebody_else_is_refused_by_name_and_cure(other, tmp_path):
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("only root can become somebody else, with setpriv")
    for folder in {tmp_path, other.project.parent, *tmp_path.parents[:3]}:
        if not folder.stat().st_mode & 0o001:  # pytest keeps these to itself
            folder.chmod(0o755)
    other.reports.mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o777)
    nobody = Lab(
        other.project,
        other.reports,
        other.cache,
        prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        environment={"HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if nobody.call("--help").returncode:
        pytest.skip("this Python may be read by root alone")
    done = nobody.call("run", "small")
    assert done.returncode == 2 and list(other.reports.iterdir()) == []
    one_line(done.stderr, str(other.reports), "cannot be written (Permission denied)", "make its folder writable")


def test_a_kernel_without_memory_is_a_failed_run_that_says_so(other, whole):
    """Its limit is set when it is about to train: what it has, and a little more."""
    call = other.start("run", "small")
    at_word("resnet18, from")(call)
    (kernel,) = call.kernels()
    limit = kernel.memory_info().vms + (32 << 20)
    kernel.rlimit(resource.RLIMIT_AS, (limit, limit))
    assert call.process.wait(300) == 1
    said = "\n".join(call.lines())
    assert "Traceback" not in said and "a smaller batch_size or image_size takes less memory" in call.lines()[-1], said
    assert read_json(other.reports / "small" / "runs" / "a-seed0" / "run.json")["status"] == "failed"
    ends_well(other, whole)


@pytest.mark.parametrize("years", [10, -30])
def test_files_from_the_future_or_the_past_are_up_to_date(lab, whole, years):
    """The clock was wrong when they were written, or is now."""
    moved = [path for folder in (lab.reports, lab.cache) for path in folder.rglob("*") if path.is_file()]
    for path in moved:
        then_ns = path.stat().st_mtime_ns + years * 365 * 86_400 * 10**9
        os.utime(path, ns=(then_ns, then_ns))
    done = lab.call("run", "small")
    assert done.returncode == 0 and "[1/1] a: up to date" in done.stdout and "Decoding" not in done.stdout


CLOCK = """
import time
real, start = time.time, time.monotonic()
time.time = lambda: real() - (86_400 if int(time.monotonic() - start) % 4 >= 2 else 0)
"""


def test_a_clock_that_jumps_a_day_back_and_forth_changes_nothing(other, whole, tmp_path):
    """Python imports this at every start, in the kernel too: every two seconds it is another day."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join([str(tmp_path / "clock"), str(other.project)])
    jumping = Lab(other.project, other.reports, other.cache, environment={"PYTHONPATH": path})
    ends_well(jumping, whole)
    manifest = read_json(other.reports / "small" / "runs" / "a-seed0" / "run.json")
    assert all(0 <= seconds < 3600 for seconds in [manifest["seconds"], *manifest["epoch_seconds"]])


def test_the_second_of_two_calls_at_once_is_refused_and_the_first_undisturbed(other, whole):
    first = other.start("run", "small")
    at_word("a: not run yet")(first)
    for command in (("report", "small", "--no-pdf"), ("run", "small"), ("make", "report", "STUDY=small")):
        second = other.call(*command)
        assert second.returncode == 2
        assert "labkit: study small is being run by another process; wait for it" in second.stderr
    assert first.process.wait(600) == 0, first.lines()
    ends_well(other, whole)
