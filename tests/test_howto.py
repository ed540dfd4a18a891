"""labkit/README's "How do I …": each recipe is carried out on a copy of the project, and its promise is tried there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.params import PROJECT

SECTION = (PROJECT / "labkit/README.md").read_text().split("## How do I …")[1].split("\n## ")[0]
RECIPES = dict(re.findall(r"\*\*(add .*?)\?\*\*.*?```diff\n(.*?)```", SECTION, re.DOTALL))

TRY = {
    "add a network": """
import torch
from labkit.evaluation.gradcam import grad_cam
from labkit.models.build import build_model, freeze_backbone
from labkit.models.describe import layer_table, parameters
from labkit.params import RunParams
import numpy as np
params = RunParams(arch="resnext50_32x4d")
model = build_model(params.arch, 5, seed=1)
assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
assert layer_table(model, 64)["parameters"].sum() == parameters(model)
again = build_model(params.arch, 5, model.state_dict(), head="keep")
assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
freeze_backbone(model, True)
learning = [p for p in model.parameters() if p.requires_grad]
assert [id(p) for p in learning] == [id(p) for p in model.fc.parameters()]
assert grad_cam(again, np.zeros((1, 64, 64, 3), np.uint8), np.zeros(1, int), "imagenet").shape == (1, 4, 4)
""",
    "add a data set": """
from pathlib import Path
import numpy as np
from PIL import Image
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.params import DataParams
folder = Path("moles")
for patient in range(30):
    kind = ("benign", "malignant")[patient % 3 == 0]
    (folder / kind).mkdir(parents=True, exist_ok=True)
    for k in range(3):
        pixels = np.random.default_rng([patient, k]).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / kind / f"p{patient}_{k}.png")
images, hashes = open_data(DataParams(dataset="moles", data=str(folder.resolve())), Path("cache"))
assert images.facts.classes == ("benign", "malignant") and images.facts.group_name == "patient"
assert images.table["group"].nunique() == 30 and len(images.table) == 90
table = assign_splits(images.table, hashes=hashes, split="group", split_seed=0, val_fraction=0.2, test_fraction=0.2)
assert (table.groupby("group")["split"].nunique() == 1).all()
""",
    "add an augmentation": """
import numpy as np
from labkit.data.augment import Augment
from labkit.params import ExploreParams, RunParams
bright, plain = (Augment.of(RunParams(image_size=16, brightness=value)) for value in (0.5, 0.0))
images, rows = [np.full((16, 16, 3), 100, np.uint8)] * 50, np.arange(50)
changed, same = (augment(images, augment.draws(1, 50, rows)) for augment in (bright, plain))
assert (same == 100).all() and changed.min() >= 50 and changed.max() <= 150 and changed.std() > 20
before = np.random.Generator(np.random.Philox(key=[0, 1])).random((50, 5))  # what DRAWS = 5 gave
assert (plain.draws(1, 50, rows)[:, :5] == before).all()
import json
cells = json.load(open("notebooks/train.ipynb"))["cells"]
cell = next(cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
assert RunParams.from_cells(["".join(cell["source"])]).brightness == 0.0
""",
    "add a metric": """
import numpy as np, pandas as pd
from labkit.evaluation.metrics import evaluate, majority_baseline
from labkit.evaluation.intervals import bootstrap_by_group
from labkit.reporting.tables import results_table
logits = 5 * np.eye(3)[[0, 1, 2, 0]]
table = pd.DataFrame({"label": [0, 0, 0, 1]}).assign(**{f"logit_{k}": logits[:, k] for k in range(3)})
found = evaluate(table, ["a", "b", "c"])
assert found["within_one"] == 0.75
baseline = majority_baseline([0, 0, 2], table["label"], 3)
ends = bootstrap_by_group(table["label"], [0, 1, 2, 0], None, 3)
assert ends.loc["within_one", "low"] < 0.75 < ends.loc["within_one", "high"]  # of a share, so also of four images
shown = results_table([found | {"run": "r", "intervals": ends}], baseline, with_intervals=["within_one"])
assert "75.0\xa0% [" in shown["Within one grade"][0] and "100.0" in shown["Within one grade"][1]
""",
}


@pytest.fixture
def copy(tmp_path) -> Path:
    """labkit and the notebooks, without what was run."""
    for name in ("labkit", "notebooks", "params"):
        shutil.copytree(PROJECT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def carry_out(recipe: str, root: Path) -> None:
    """Apply a recipe: below `--- file` each run of lines, ` ` as it is there, `-` out, `+` in, stands there once."""
    for name, body in re.findall(r"^--- (\S+)\n((?:[ +-](?!-- ).*\n)+)", recipe, re.MULTILINE):
        path = root / name
        text = path.read_text()
        notebook = path.suffix == ".ipynb"
        for old, new in edits(body.splitlines()):
            if notebook:
                old, new = ("".join(f'    {json.dumps(line)[:-1]}\\n",\n' for line in part) for part in (old, new))
            else:
                old, new = ("".join(f"{line}\n" for line in part) for part in (old, new))
            assert text.count(old) == 1, f"{name} has {text.count(old)} times:\n{old}"
            text = text.replace(old, new)
        path.write_text(text)


def edits(lines: list[str]) -> list[tuple[list[str], list[str]]]:
    """(lines as they are, lines as they shall be); what is left or taken out begins a place, what is added ends it."""
    places: list[tuple[list[str], list[str]]] = []
    ended = True
    for line in lines:
        if line[0] != "+" and ended:
            places.append(([], []))
        ended = line[0] == "+"
        if line[0] != "+":
            places[-1][0].append(line[1:])
        if line[0] != "-":
            places[-1][1].append(line[1:])
    return places


def test_there_is_a_recipe_for_each_and_none_is_longer_than_ten_lines():
    assert RECIPES.keys() == TRY.keys()
    for name, recipe in RECIPES.items():
        assert sum(line.startswith("+") for line in recipe.splitlines()) <= 10, name


@pytest.mark.parametrize("name", TRY)
def test_a_recipe_does_what_it_promises(name, copy):
    before = run(TRY[name], copy)
    assert before.returncode != 0  # it is the recipe that makes the difference
    shutil.rmtree(copy / "moles", ignore_errors=True)
    carry_out(RECIPES[name], copy)
    done = run(TRY[name], copy)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_data_set_that_is_added_makes_no_run_stale(copy):
    code = "from labkit.runs.fingerprint import run_code; print(run_code())"
    before = run(code, copy).stdout
    carry_out(RECIPES["add a data set"], copy)
    assert run(code, copy).stdout == before != ""


@pytest.mark.parametrize("name", TRY)
def test_a_recipe_leaves_code_that_passes_the_linter(name, copy):
    carry_out(RECIPES[name], copy)
    shutil.copy(PROJECT / "pyproject.toml", copy)
    command = [sys.executable, "-m", "ruff", "check", "--select", "E,F", "--no-cache", "labkit"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def run(code: str, root: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
