"""Weights, checkpoints, manifests and tables that are damaged or hostile: no code is run, no formula is written, and
the file is named in one line."""

import csv
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from labkit.models.build import load_weights
from labkit.models.weights import WeightsError, read_file
from labkit.params import ParameterError
from labkit.runs.files import read_csv, read_json, write_csv
from labkit.runs.folder import read_params, read_predictions, state
from labkit.training.checkpoint import Progress, load_checkpoint, save_checkpoint


class Harmful:
    """What a pickle can do: run a command where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def harmed(tmp_path) -> Path:
    return tmp_path / "harmed"


@pytest.mark.parametrize("how", ["torch", "pickle", "inside a state dict"])
@pytest.mark.parametrize("name", ["model.pt", "model.pth"])
def test_weights_that_would_run_code_are_refused_and_it_is_not_run(tmp_path, harmed, name, how):
    path = tmp_path / name
    if how == "pickle":
        path.write_bytes(pickle.dumps(Harmful(harmed)))
    else:
        torch.save(Harmful(harmed) if how == "torch" else {"fc.weight": Harmful(harmed)}, path)
    with pytest.raises(WeightsError, match=rf"{name} .*save") as error:
        read_file(path)
    assert "\n" not in str(error.value) and not harmed.exists()


def test_a_pickle_called_safetensors_is_refused(tmp_path, harmed):
    torch.save(Harmful(harmed), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"model\.safetensors cannot be read .*save it again"):
        read_file(tmp_path / "model.safetensors")
    assert not harmed.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_truncated_weights_are_refused_by_name(tmp_path, suffix, part):
    path = tmp_path / f"model.{suffix}"
    tensors = {"conv1.weight": torch.randn(64, 3, 7, 7)}
    save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(WeightsError, match=rf"model\.{suffix} ") as error:
        read_file(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_with_their_tensor(tmp_path, broken):
    save_file({"fc.bias": torch.zeros(3), "bn1.weight": torch.tensor([1.0, broken])}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"model\.safetensors: bn1\.weight holds NaN or infinity"):
        load_weights(tmp_path / "model.safetensors", "resnet18")


@given(
    position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans(), suffix=st.sampled_from(["pt", "st"])
)
def test_damaged_weights_are_read_or_refused_by_name(position, value, cut, suffix, tmp_path):
    path = tmp_path / ("x.pt" if suffix == "pt" else "x.safetensors")
    tensors = {"a": torch.ones(3), "b": torch.ones(2, 2)}
    save_file(tensors, path) if suffix == "st" else torch.save(tensors, path)
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] = value
    path.write_bytes(raw[: position % len(raw)] if cut else raw)
    try:
        read_file(path)
    except WeightsError as error:
        assert path.name in str(error) and "\n" not in str(error)


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    model = torch.nn.Linear(2, 2)
    save_checkpoint(tmp_path / "checkpoint.pt", "f", Progress(), model, torch.optim.SGD(model.parameters(), 0.1))
    return tmp_path / "checkpoint.pt"


def test_a_checkpoint_of_another_run_is_none_and_an_own_one_comes_back(checkpoint):
    assert load_checkpoint(checkpoint, "g") is None
    assert load_checkpoint(checkpoint, "f")["model"].keys() == {"weight", "bias"}


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint_is_named_with_the_cure(checkpoint, part):
    checkpoint.write_bytes(checkpoint.read_bytes()[: int(part * checkpoint.stat().st_size)])
    with pytest.raises(ParameterError, match=r"checkpoint\.pt: damaged.*remove it, and the run starts again") as error:
        load_checkpoint(checkpoint, "f")
    assert "\n" not in str(error.value)


def test_a_flipped_bit_of_a_checkpoint_is_named(checkpoint):
    with zipfile.ZipFile(checkpoint) as parts:
        longest = max(parts.infolist(), key=lambda part: part.file_size)
    whole = checkpoint.read_bytes()
    with zipfile.ZipFile(checkpoint) as parts:
        start = whole.index(parts.read(longest), longest.header_offset)
    for place in (start, start + longest.file_size // 2, start + longest.file_size - 1):
        checkpoint.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with pytest.raises(ParameterError, match=r"checkpoint\.pt: damaged"):
            load_checkpoint(checkpoint, "f")


@pytest.mark.parametrize("content", [[1], {"fingerprint": "f"}, {"model": {}}, torch.zeros(1)])
def test_what_is_no_checkpoint_is_not_taken_for_one(checkpoint, content):
    torch.save(content, checkpoint)
    with pytest.raises(ParameterError, match="no checkpoint of labkit's"):
        load_checkpoint(checkpoint, "f")


def test_a_checkpoint_that_would_run_code_is_refused_and_it_is_not_run(checkpoint, harmed):
    torch.save({"fingerprint": "f", "model": Harmful(harmed)}, checkpoint)
    with pytest.raises(ParameterError, match=r"checkpoint\.pt: damaged, or no checkpoint"):
        load_checkpoint(checkpoint, "f")
    assert not harmed.exists()


# --- what runs leave behind -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"3", b'{"status": "fin', b"\xff\xfe{", b"[" * 100_000, b"\0" * 99]
)
def test_a_damaged_manifest_is_named_with_the_cure(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json: damaged .*remove it") as error:
        read_json(tmp_path / "run.json")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400 and state(tmp_path) == "damaged"


@pytest.mark.parametrize("content", ["", "- a", "epochs: [", "1: 2", "!!python/object/apply:os.system [exit]", "a: *b"])
def test_a_damaged_params_yaml_is_named(tmp_path, content):
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ParameterError, match=r"params\.yaml.*re-run it") as error:
        read_params(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"image_id,label\na,1,2\nb\n", b'image_id,label\n"a,1\n', b"image_id\n\xff\n"]
)
def test_damaged_predictions_are_named(tmp_path, content):
    (tmp_path / "predictions.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"predictions\.csv: damaged") as error:
        read_predictions(tmp_path)
    assert "\n" not in str(error.value)


FORMULAS = [
    "=1+1",
    "=cmd|'/c calc'!A1",
    "+1+1|x",
    "-2+3+cmd()",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''@x",
    "+HYPERLINK(1)",
]
PLAIN = ["1_left", "-1_left.jpeg", "+5", "-3.5", "a=b", "it's", "'quoted'", "", "ä ö", "a,b", 'say "x"', "x\ny", "-"]


def in_a_spreadsheet(path: Path) -> list[str]:
    """Every cell's text as a spreadsheet reads the file."""
    return [cell for row in csv.reader(io.StringIO(path.read_bytes().decode(), newline="")) for cell in row]


def runs_as_a_formula(cell: str) -> bool:
    """Starts as one, and has more than a number or a name."""
    if cell[:1] in {"=", "@", "\t", "\r"}:
        return True
    return cell[:1] in {"+", "-"} and any(sign in cell for sign in "()|!=[]{}<>&^*;:\"'")


def test_no_cell_that_we_write_is_run_as_a_formula_and_all_come_back(tmp_path):
    names = [*FORMULAS, *(name for name in PLAIN if name)]
    table = pd.DataFrame({"image_id": names, "group": names[::-1], "label": range(len(names)), "logit_0": -1.5})
    assert [name for name in FORMULAS if runs_as_a_formula(name)]
    write_csv(tmp_path / "predictions.csv", table)
    assert not [cell for cell in in_a_spreadsheet(tmp_path / "predictions.csv") if runs_as_a_formula(cell)]
    back = read_predictions(tmp_path)
    assert back["image_id"].tolist() == names and back["group"].tolist() == names[::-1]
    assert back["logit_0"].tolist() == [-1.5] * len(names)


def test_what_is_no_formula_is_written_as_it_is(tmp_path):
    write_csv(tmp_path / "x.csv", pd.DataFrame({"ID": [name for name in PLAIN if name != "x\ny"]}))
    assert "'-" not in (tmp_path / "x.csv").read_text() and "'+" not in (tmp_path / "x.csv").read_text()


@given(names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1), min_size=1))
def test_any_text_comes_back_from_our_csv(names, tmp_path):
    names += ["NA", "null", "nan", "None", "N/A"]  # which pandas would read as missing
    write_csv(tmp_path / "x.csv", pd.DataFrame({"=head": names}))
    assert not [cell for cell in in_a_spreadsheet(tmp_path / "x.csv") if runs_as_a_formula(cell)]
    assert read_csv(tmp_path / "x.csv", dtype="string")["=head"].tolist() == names


def test_numbers_dates_and_gaps_are_left_as_they_are(tmp_path):
    table = pd.DataFrame({"a": [-1.0, np.nan], "b": pd.array([1, None], "Int64"), "c": ["=x", None]})
    before = table.copy(deep=True)
    write_csv(tmp_path / "x.csv", table)
    pd.testing.assert_frame_equal(table, before)
    assert (tmp_path / "x.csv").read_text() == "a,b,c\n-1,1,'=x\n,,\n"


def test_an_image_called_like_a_formula_is_handed_in_and_read_back(tmp_path):
    """From the folder of images to the tables that a run leaves."""
    row = {"image_id": "=cmd|'/c calc'!A1", "group": "@p", "side": None, "split": "test", "label": 0, "logit_0": 0.5}
    write_csv(tmp_path / "predictions.csv", pd.DataFrame([row]))
    assert read_predictions(tmp_path).loc[0, ["image_id", "group"]].tolist() == ["=cmd|'/c calc'!A1", "@p"]
