"""A study on a Dask cluster: real scheduler and workers, in network namespaces of their own where that is allowed."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from made_study import Lab, same_results

from labkit.params import PROJECT
from labkit.runs.files import read_json
from labkit.runs.folder import reports_root, state

DASK = [sys.executable, "-m", "dask"]
# Three runs that wait for none, and one that starts from the first; enough epochs to be killed between two.
CALL = ["run", "course/depth", "--data", "tiny", "-p", "image_size", "32", "-p", "threads", "1", "-p", "epochs", "3"]
CHOSEN = ["--runs", "resnet18", "resnet18-all", "resnet18-unweighted", "resnet18-normalized"]


@dataclass
class Place:
    """Where a worker runs: what goes before its command, and how it names the scheduler's machine."""

    prefix: list[str]
    scheduler: str


def in_words(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


@contextlib.contextmanager
def network_namespaces(count: int) -> Iterator[list[Place]]:
    """As many machines as far as the network goes, each on a cable of its own to this one; empty where not allowed."""
    places, made = [], []
    try:
        for number in range(count):
            name, ours, theirs = f"labkit{os.getpid()}-{number}", f"lk{os.getpid() % 10**6}{number}a", "eth0"
            net = f"10.213.{(os.getpid() + number) % 250}"  # another than that of a test that was killed
            here, there = f"{net}.1", f"{net}.2"
            inside = ["ip", "netns", "exec", name]
            steps = [
                ["ip", "netns", "add", name],
                ["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name],
                ["ip", "addr", "add", f"{here}/24", "dev", ours],
                ["ip", "link", "set", ours, "up"],
                [*inside, "ip", "addr", "add", f"{there}/24", "dev", theirs],
                [*inside, "ip", "link", "set", theirs, "up"],
                [*inside, "ip", "link", "set", "lo", "up"],
            ]
            made += [["ip", "link", "delete", ours], ["ip", "netns", "delete", name]]
            if shutil.which("ip") is None or any(map(in_words, steps)):
                places = []
                break
            places.append(Place(inside, here))
        yield places
    finally:
        for undo in made:
            in_words(undo)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Lab:
    """Where the same runs were made on this machine, one after another."""
    lab = Lab.of_this_project(tmp_path_factory.mktemp("alone"))
    done = lab.call(*CALL, *CHOSEN)
    assert done.returncode == 0, done.stderr
    return lab


@pytest.fixture
def same_cache(alone, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(alone.cache))


@dataclass
class Dask:
    address: str
    workers: dict[str, subprocess.Popen]  # by address


@pytest.fixture
def dask(tmp_path) -> Iterator[Dask]:
    """A scheduler and two workers that know nothing of labkit's folders."""
    with contextlib.ExitStack() as stack:
        places = stack.enter_context(network_namespaces(2)) or [Place([], "127.0.0.1")] * 2
        quiet = {"text": True, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "cwd": tmp_path}
        scheduler = subprocess.Popen([*DASK, "scheduler", "--port", "0", "--no-dashboard"], **quiet)
        stack.callback(end, scheduler)
        port = int(wait_for(scheduler, r"Scheduler at: +tcp://\S+:(\d+)")[1])
        workers = {}
        for place in places:
            command = [*place.prefix, *DASK, "worker", f"tcp://{place.scheduler}:{port}", "--nthreads", "1"]
            worker = subprocess.Popen([*command, "--no-nanny", "--no-dashboard", "--death-timeout", "300"], **quiet)
            stack.callback(end, worker)
            workers[wait_for(worker, r"Start worker at: +(tcp://\S+)")[1]] = worker
            wait_for(worker, "Starting established connection")
        yield Dask(f"tcp://127.0.0.1:{port}", workers)


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def wait_for(process: subprocess.Popen, pattern: str) -> re.Match:
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"it ended without {pattern!r}:\n" + "".join(lines))


def start(dask: Dask, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "labkit.cli", *CALL, *(arguments or CHOSEN), "--scheduler", dask.address]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_jobs_of_slurm_are_workers_and_a_cancelled_one_costs_nothing(alone, same_cache, tmp_path):
    """As README says it, through dask-jobqueue; tests/slow/one_node_slurm.sh makes a SLURM of this machine."""
    if shutil.which("sbatch") is None or in_words(["sinfo"]):
        pytest.skip("no SLURM here: export SLURM_CONF=$(bash tests/slow/one_node_slurm.sh start)")
    from dask_jobqueue import SLURMCluster

    node = {"cores": 1, "processes": 1, "memory": "2GB", "walltime": "00:20:00", "log_directory": str(tmp_path)}
    node["worker_extra_args"] = ["--resources", "GPU=1"]  # what a job takes one of
    with SLURMCluster(**node, interface="lo", scheduler_options={"dashboard_address": None}) as slurm:
        slurm.scale(2)
        slurm.wait_for_workers(1, timeout=120)
        study = start(Dask(slurm.scheduler_address, {}))
        said, killed = [], ""
        for line in study.stdout:
            said.append(line)
            name, _, rest = line.strip().partition("  ")
            if rest.startswith("epoch 1/3") and not killed:
                killed = name
                jobs = subprocess.run(
                    ["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True
                )
                subprocess.run(["scancel", jobs.stdout.split()[0]], check=True)
        assert study.wait() == 0, "".join(said) + study.stderr.read()
    attempts = [read_json(folder_of(run) / "run.json")["attempts"] for run in CHOSEN[1:]]
    assert sum(attempts) == len(attempts) + 1, attempts
    assert_same_bytes(alone)


def assert_same_bytes(alone: Lab, runs: Sequence[str] = CHOSEN[1:]) -> None:
    for run in runs:
        assert not list(same_results(folder_of(run), folder_of(run, alone.reports))), run


def folder_of(run: str, reports: Path | None = None) -> Path:
    return (reports or reports_root()) / "course" / "depth-small" / "runs" / f"{run}-seed0"


def test_runs_spread_over_the_workers_and_one_that_is_killed_costs_nothing(dask, alone, same_cache):
    """Its run goes on elsewhere, from its last full epoch; all files are those of one machine, to the byte."""
    study = start(dask)
    said, on, killed = [], {}, ""
    for line in study.stdout:
        said.append(line)
        name, _, rest = line.strip().partition("  ")
        if place := re.match(r"on worker (\S+)", rest):
            on.setdefault(name, []).append(place[1])
        if rest.startswith("epoch 1/3") and not killed and name != "resnet18-all":
            killed = name
            end(dask.workers[on[name][0]])
    errors = study.stderr.read()
    assert study.wait() == 0, "".join(said) + errors
    assert len({places[0] for places in on.values()}) == 2, on
    assert len(on[killed]) == 2 and on[killed][0] != on[killed][1], on
    assert any(line.strip().startswith(f"{killed}  going on after epoch") for line in said)
    assert read_json(folder_of(killed) / "run.json")["attempts"] == 2
    assert_same_bytes(alone)
    assert "up to date" in start(dask).communicate()[0]


def test_ctrl_c_lets_the_runs_on_the_workers_save_and_stop(dask, alone, same_cache):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job ignores it, and so would ours
    two = "--runs", *CHOSEN[1:4:2]  # one a worker
    study = start(dask, *two)
    for line in study.stdout:
        if "epoch 1/3" in line:
            break
    study.send_signal(signal.SIGINT)
    _, errors = study.communicate()
    assert study.returncode == 130 and "run the same command again" in errors
    states = {run: state(folder_of(run)) for run in two[1:]}
    assert "running" not in states.values() and "interrupted" in states.values(), states
    again = start(dask, *two)
    said, errors = again.communicate()
    assert again.returncode == 0, said + errors
    assert_same_bytes(alone, two[1:])


def test_a_worker_without_the_shared_folder_says_what_is_needed(dask):
    """The job names a folder that its worker does not see."""
    from labkit.params import RunParams
    from labkit.studies.dask import Cluster
    from labkit.studies.local import Job

    with Cluster(dask.address) as cluster:
        folder = reports_root() / "s" / "runs" / "r-seed0"
        error = cluster.start(Job(RunParams(run="r"), {"code": ""}, folder, "not run yet"), print).result()
        assert error and "a folder that all machines share is needed" in error and str(folder.parents[1]) in error
        (folder.parents[1]).mkdir(parents=True)
        (folder.parents[1] / ".lock").touch()
        error = cluster.start(Job(RunParams(run="r"), {"code": "of yesterday"}, folder, "not run yet"), print).result()
        assert error and "another version of labkit" in error


def test_a_worker_without_labkit_and_a_lost_scheduler_are_one_line(tmp_path):
    without = tmp_path / "without"
    without.mkdir()
    (without / "labkit.py").write_text("raise ModuleNotFoundError('No module named labkit')")
    place, quiet = ["--host", "127.0.0.1", "--no-dashboard"], {"text": True, "stderr": subprocess.PIPE, "cwd": tmp_path}
    with contextlib.ExitStack() as stack:
        scheduler = subprocess.Popen([*DASK, "scheduler", "--port", "0", *place], **quiet)
        stack.callback(end, scheduler)
        address = wait_for(scheduler, r"Scheduler at: +(tcp://\S+)")[1]
        for where in (without, PROJECT):
            command = [*DASK, "worker", address, *place, "--nthreads", "1", "--no-nanny"]
            worker = subprocess.Popen(command, **quiet, env=os.environ | {"PYTHONPATH": str(where)})
            stack.callback(end, worker)
            wait_for(worker, "Starting established connection")
            study = start(Dask(address, {}), "--runs", "resnet18", "-p", "epochs", "99")
            stack.callback(end, study)
            if where == without:
                errors = study.communicate()[1]
                assert study.returncode == 1 and "install labkit on every worker" in errors and "Trace" not in errors
                end(worker)
        assert any("epoch " in line for line in study.stdout)
        end(scheduler)
        errors = study.communicate()[1]
        assert study.returncode == 2 and "Traceback" not in errors
        assert "the Dask scheduler has gone" in errors and "the same command goes on" in errors


def test_no_scheduler_at_the_address_is_one_line(monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "2s")
    done = subprocess.run(
        [sys.executable, "-m", "labkit.cli", "run", "tiny", "--scheduler", "tcp://127.0.0.1:9"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "127.0.0.1:9" in done.stderr and "dask scheduler" in done.stderr


def test_with_tls_only_who_has_the_certificates_is_served(tmp_path, monkeypatch):
    """As README says it."""
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=lab -keyout lab.key -out lab.pem"
    if shutil.which("openssl") is None or subprocess.run(make.split(), cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("no openssl here")
    monkeypatch.chdir(tmp_path)
    tls = ["--protocol", "tls", "--host", "127.0.0.1", "--no-dashboard"]
    tls += ["--tls-ca-file", "lab.pem", "--tls-cert", "lab.pem", "--tls-key", "lab.key"]
    quiet = {"text": True, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with contextlib.ExitStack() as stack:
        scheduler = subprocess.Popen([*DASK, "scheduler", "--port", "0", *tls], **quiet)
        stack.callback(end, scheduler)
        address = wait_for(scheduler, r"Scheduler at: +(tls://\S+:\d+)")[1]
        places = {"CA_FILE": "lab.pem", "CLIENT__CERT": "lab.pem", "CLIENT__KEY": "lab.key"}
        known = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(tmp_path / file) for name, file in places.items()}
        call = "from labkit.studies.dask import Cluster; import sys\nwith Cluster(sys.argv[1]): print('served')"
        command = [sys.executable, "-c", call, address]
        served = subprocess.run(command, env=os.environ | known, cwd=PROJECT, capture_output=True, text=True)
        assert served.returncode == 0 and "served" in served.stdout, served.stderr
        refused = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        assert (
            refused.returncode == 1 and "the certificates of tls:// are those of Dask's configuration" in refused.stderr
        )
