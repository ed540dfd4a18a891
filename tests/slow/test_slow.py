"""The whole way, for real: Papermill, kernels, signals and a browser. `make test-slow` runs these."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from check_report import check
from nbclient import NotebookClient

from labkit.params import PROJECT
from labkit.reporting.page.browser import find_browser
from labkit.runs.files import read_json
from labkit.runs.folder import notebook_complete, read_predictions, state

PAPERMILL = [sys.executable, "-m", "papermill", "--no-progress-bar"]
TINY = ["tiny", "-p", "image_size", "32", "-p", "threads", "1"]
DATA = Path(os.environ.get("LABKIT_TEST_DATA", PROJECT.parent / "data")).resolve()


def labkit(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "labkit.cli", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=check)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The tiny study with its report, made once for this file."""
    root = tmp_path_factory.mktemp("finished")
    environment = os.environ | {"LABKIT_REPORTS": str(root / "reports"), "LABKIT_CACHE": str(root / "cache")}
    command = [sys.executable, "-m", "labkit.cli", "report", *TINY, *([] if find_browser() else ["--no-pdf"])]
    subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return root


@pytest.fixture
def in_finished(finished, monkeypatch) -> Path:
    monkeypatch.setenv("LABKIT_REPORTS", str(finished / "reports"))
    monkeypatch.setenv("LABKIT_CACHE", str(finished / "cache"))
    return finished / "reports" / "tiny"


def test_the_report_holds_what_it_must(in_finished):
    if not find_browser():
        pytest.skip("no browser to print a PDF with")
    assert check(in_finished) == []


def test_a_second_call_executes_and_renders_nothing(in_finished):
    before = {
        path: path.stat().st_mtime_ns for path in in_finished.rglob("*") if path.is_file() and path.name != ".lock"
    }
    said = labkit("report", *TINY, *([] if find_browser() else ["--no-pdf"])).stdout
    assert said.count("up to date") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_folder_repeats_itself_from_its_own_params(in_finished, tmp_path):
    """`papermill train.ipynb out.ipynb -f params.yaml` gives the same bytes, in another study's place."""
    params = (in_finished / "runs" / "resnet18-scratch-seed0" / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("study: tiny", "study: again"))
    subprocess.run(
        [*PAPERMILL, "notebooks/train.ipynb", tmp_path / "out.ipynb", "-f", tmp_path / "params.yaml"],
        cwd=PROJECT,
        check=True,
    )
    again = in_finished.parent / "again" / "runs" / "resnet18-scratch-seed0"
    for name in ("history.csv", "predictions.csv", "metrics.json", "model.safetensors"):
        assert (again / name).read_bytes() == (in_finished / "runs" / again.name / name).read_bytes(), name


def test_verify_repeats_a_run_to_the_byte(in_finished):
    """The fine-tuned run: its parent's weights are found where they are, and nothing is left behind."""
    name = "resnet18-finetuned"
    done = labkit("verify", name, "--study", "tiny")
    assert "the same bytes" in done.stdout and not list((in_finished.parent / ".verify").rglob("run.json"))


def test_a_notebook_cut_short_is_executed_again_on_the_finished_run(in_finished):
    folder = in_finished / "runs" / "resnet18-scratch-seed0"
    predictions, manifest = (folder / "predictions.csv").read_bytes(), read_json(folder / "run.json")
    notebook = json.loads((folder / "train.ipynb").read_text())
    notebook["cells"][-1]["execution_count"] = None  # as Papermill saves one whose kernel was killed
    (folder / "train.ipynb").write_text(json.dumps(notebook))
    said = labkit("run", *TINY).stdout
    assert "its notebook was cut short" in said and "is replayed" in said
    assert notebook_complete(folder / "train.ipynb")
    assert (folder / "predictions.csv").read_bytes() == predictions
    after = read_json(folder / "run.json")
    assert after["test_predictions"] == manifest["test_predictions"] == 1


@pytest.mark.parametrize("name", ["train", "explore", "analysis", "predict"])
def test_a_notebook_runs_from_top_to_bottom_and_again_in_the_same_kernel(name, in_finished):
    """As a person does in JupyterLab: every cell, and then every cell once more."""
    notebook = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", as_version=4)
    again = copy.deepcopy(notebook.cells)
    for cell in again:
        cell["id"] += "-again"
    notebook.cells += again
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(PROJECT / "notebooks")}})
    client.execute()
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"
    ]


def test_without_a_browser_the_html_is_made_and_the_cure_is_one_line(in_finished, monkeypatch):
    monkeypatch.setenv("LABKIT_CHROME", "/no/such/browser")
    (in_finished / "report.pdf").unlink(missing_ok=True)
    done = labkit("report", *TINY, check=False)
    assert done.returncode == 3 and "report.html" in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1 and "/no/such/browser" in done.stderr
    assert labkit("report", *TINY, "--no-pdf").returncode == 0


def test_papermill_stops_at_wrong_parameters(tmp_path):
    wrong = ["-p", "epoch", "9", "-p", "learning_rate", "-1"]
    command = [*PAPERMILL, "notebooks/train.ipynb", tmp_path / "out.ipynb", *wrong]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode != 0
    last = " ".join(done.stderr.strip().splitlines()[-2:])
    assert "epoch: got 9" in last and "did you mean epochs" in last and "learning_rate: got -1" in last, last


@pytest.fixture
def trained(tmp_path, own_reports):
    """Trains by Papermill's command, with these parameters; the folder of the finished run, and the notebook's text."""

    def train(**params) -> tuple[Path, str]:
        given = [word for name, value in ({"epochs": 1} | params).items() for word in ("-p", name, str(value))]
        command = [*PAPERMILL, "notebooks/train.ipynb", tmp_path / "out.ipynb", *given]
        subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
        (folder,) = (own_reports / "adhoc" / "runs").glob("*")
        assert state(folder) == "finished" and not (folder / "checkpoint.pt").exists()
        return folder, (tmp_path / "out.ipynb").read_text()

    return train


def test_the_courses_protocol_runs_and_is_stamped(trained):
    """Given split, epoch chosen on test: the numbers can be had, but not without what is wrong with them."""
    folder, notebook = trained(split="given", select_on="test", image_size=32, threads=1)
    assert folder.name.startswith("resnet18-")
    stamps = " ".join(read_json(folder / "run.json")["stamps"])
    assert "of the test images share a patient" in stamps and "chosen on the test images" in stamps
    assert "test_qwk" in (folder / "history.csv").read_text()
    assert 'class=\\"banner' in notebook


def test_leukemia_cells_train_the_deepest_network(trained):
    folder, _ = trained(dataset="leukemia", arch="resnet152", split="given", image_size=32, rotation=90, threads=1)
    assert set(read_predictions(folder)["split"]) == {"val", "test"}
    handed_in = sorted(folder.glob("submission-*.csv"))  # the course has one list for each depth, in its own order
    assert [path.name for path in handed_in] == [f"submission-resnet_{depth}_test.csv" for depth in (152, 18, 50)]
    assert all(path.read_text().startswith("ID,label\n") for path in handed_in)


def test_papermill_trains_in_two_processes_and_says_so(trained):
    folder, notebook = trained(num_processes=2, num_workers=1, threads=1)
    manifest = read_json(folder / "run.json")
    assert (manifest["num_processes"], manifest["threads"], manifest["batch_norm"]) == (2, 1, "per process")
    predictions = read_predictions(folder)
    evaluated = sum(count for split, count in manifest["n_images"].items() if split != "train")
    assert predictions["image_id"].is_unique and len(predictions) == evaluated
    assert "2 processes trained together, on 16 images each" in notebook and "OMP_NUM_THREADS" not in notebook
    assert "epoch 1/1" in notebook


def test_real_fundus_photographs_are_checked_whole_and_a_tenth_of_the_patients_trains(trained, tmp_path):
    data = DATA / "retinopathy"
    if not data.is_dir():
        pytest.skip(f"no real photographs at {data}; set LABKIT_TEST_DATA")
    done = labkit("check", str(data), "--json", check=False)
    assert done.returncode == 1, done.stderr  # patients are on both sides of the course's split
    alike = "No two different files were found to look alike"
    told = "".join(json.loads(done.stdout)["said"]["Duplicates"])
    assert alike in told and "All 6,742 images can be decoded" in done.stdout
    (tmp_path / "few" / "images").mkdir(parents=True)
    with (data / "trainLabels.csv").open() as file, (tmp_path / "few" / "trainLabels.csv").open("w") as few:
        few.write(next(file))
        for line in file:
            name = line.split(",")[0]
            photograph = data / "images" / f"{name}.jpeg"
            if name.split("_")[0].endswith("7") and photograph.exists():
                few.write(line)
                (tmp_path / "few" / "images" / photograph.name).write_bytes(photograph.read_bytes())
    folder, notebook = trained(data=tmp_path / "few", image_size=32)
    manifest = read_json(folder / "run.json")
    assert 500 < sum(manifest["n_images"].values()) < 1000 and manifest["stamps"] == []
    assert alike in manifest["audit"]["duplicates"]
    assert "majority class" in notebook
