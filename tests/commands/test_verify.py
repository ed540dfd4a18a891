"""What `labkit verify` says of two run folders, without running anything."""

import numpy as np
import pytest
from made_runs import make_run

from labkit.cli import main
from labkit.commands.verify import FILES, compare
from labkit.runs.files import read_json, write_csv, write_json, write_text
from labkit.runs.folder import read_predictions


@pytest.fixture
def twins(own_reports):
    for name in ("a", "b"):
        make_run(name, np.zeros(60, int))
    return [own_reports / "s" / "runs" / f"{name}-seed0" for name in ("a", "b")]


def test_equal_runs_are_the_same(twins):
    assert compare(*twins, 3.0) == (f"a-seed0: re-run in 3 s, the same bytes ({', '.join(FILES)})", True)


def test_the_first_value_that_differs_is_named(twins):
    table = read_predictions(twins[1]).astype({"logit_0": float})
    table.loc[4, "logit_0"] += 1e-6
    table.loc[9, "logit_1"] = 7
    write_csv(twins[1] / "predictions.csv", table)
    said, same = compare(*twins, 3.0)
    first, only = said.splitlines()
    assert not same and first.startswith("a-seed0: MISMATCH")
    assert only == "  predictions.csv: 2 of 60 rows differ, first row 5 (logit_0 was 3, is 3.000001)"


def test_other_weights_and_a_missing_file_differ(twins):
    write_text(twins[1] / "model.safetensors", "other weights")
    (twins[1] / "history.csv").unlink()
    said, same = compare(*twins, 3.0)
    assert not same and "model.safetensors: SHA-256" in said and "history.csv: only" in said


def test_what_equality_is_not_promised_for_is_said(twins):
    manifest = read_json(twins[1] / "run.json")
    write_json(twins[1] / "run.json", manifest | {"device": "cuda", "instructions": "AVX2", "inputs": {"code": "new"}})
    write_text(twins[1] / "model.safetensors", "other weights")
    said, _ = compare(*twins, 3.0)
    assert "device was cpu, is cuda" in said and "code was None, is new" in said
    assert "instructions was None, is AVX2" in said


def test_a_run_is_not_overwritten_by_its_own_re_run(twins, own_reports, capsys):
    repeated = own_reports / ".verify" / "s" / "runs" / "a-seed0"
    repeated.parent.mkdir(parents=True)
    twins[0].rename(repeated)
    assert main(["verify", str(repeated)]) == 2
    assert "is itself a re-run by labkit verify" in capsys.readouterr().err and (repeated / "run.json").is_file()


def test_only_a_finished_run_is_verified(twins, capsys):
    write_json(twins[0] / "run.json", read_json(twins[0] / "run.json") | {"status": "failed"})
    assert main(["verify", str(twins[0])]) == 2
    assert "this run is failed, not finished" in capsys.readouterr().err
    write_text(twins[1] / "predictions.csv", (twins[1] / "predictions.csv").read_text().replace("3", "2", 1))
    assert main(["verify", str(twins[1])]) == 2
    assert "damaged: predictions.csv is not what the run wrote; put back the files, or" in capsys.readouterr().err
