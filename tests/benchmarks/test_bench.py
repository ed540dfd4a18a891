"""The benchmark's own machinery: turns, rows, the table; what it measures is not asserted on a machine of whoever."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from labkit.bench import groups, measure, option_rows, peers
from labkit.bench.ours import Training, as_in_a_run, params_for
from labkit.bench.photographs import eyes
from labkit.bench.rows import (
    Goal,
    Row,
    absent_row,
    as_table,
    at_least,
    at_most,
    figure_row,
    in_words,
    rate_row,
    time_row,
)
from labkit.bench.setting import Setting, open_setting
from labkit.bench.timing import Clock, Times, in_turn
from labkit.bench.training_rows import kept_of_backbone
from labkit.cli import main
from labkit.params import ParameterError


class FakeClock:
    """A clock that only a contestant's work moves on; processors work twice as long as the wall's clock runs."""

    def __init__(self):
        self.now = 0.0
        self.log: list[str] = []

    def works(self, name: str, seconds: float):
        def once() -> None:
            self.log.append(name)
            self.now += seconds

        return once

    def as_clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: 2 * self.now, lambda: None, lambda: None)


@pytest.fixture
def fake() -> FakeClock:
    return FakeClock()


def test_contestants_are_warmed_up_and_then_take_turns(fake):
    in_turn({"a": fake.works("a", 1), "b": fake.works("b", 2)}, 3, fake.as_clock())
    assert "".join(fake.log) == "ab" + "ababab"


def test_a_pass_is_timed_by_wall_and_by_processors_without_the_warm_up(fake):
    times = in_turn({"a": fake.works("a", 1), "b": fake.works("b", 2)}, 3, fake.as_clock())
    assert times["a"] == Times([1, 1, 1], [2, 2, 2])
    assert times["b"].of(per_core=False) == [2, 2, 2] and times["b"].of(per_core=True) == [4, 4, 4]


def test_short_passes_are_repeated_until_they_fill_a_round(fake):
    times = in_turn({"short": fake.works("s", 0.25), "long": fake.works("l", 2)}, 1, fake.as_clock(), fill=1)
    assert "".join(fake.log) == "ss" + "ll" + "ssss" + "l"
    assert times["short"].wall == [0.25]  # of one pass


def test_a_cold_first_call_can_be_what_is_measured(fake):
    in_turn({"a": fake.works("a", 1)}, 1, fake.as_clock(), warm=False)
    assert fake.log == ["a"]


def test_a_device_is_waited_for_before_the_clock_is_read(fake):
    """What a GPU still has to do when the loop ends belongs to the pass."""
    behind = []

    def wait() -> None:
        fake.now += len(behind)
        behind.clear()

    clock = Clock(lambda: fake.now, lambda: fake.now, wait, lambda: None)
    assert in_turn({"gpu": lambda: behind.append(1)}, 2, clock)["gpu"].wall == [1, 1]


def test_no_round_is_refused(fake):
    with pytest.raises(ValueError, match="at least 1"):
        in_turn({"a": fake.works("a", 1)}, 0)
    with pytest.raises(ParameterError, match="--rounds"):
        open_setting(rounds=0)


def test_the_ratio_of_rates_is_the_median_of_the_rounds_own_ratios():
    """The machine was ten times as slow in the second round: medians apart would compare different rounds."""
    ours, theirs = Times([1, 10, 2]), Times([2, 20, 8])
    row = rate_row("input", "64 px", "images/s", 100, ours, "plain loop", theirs, at_least(2))
    assert (row.ratio, row.ratio_low, row.ratio_high) == (2, 2, 4)
    assert (row.ours, row.theirs) == (50, 12.5)
    assert row.goal == "≥ 2 ×" and row.met is True and row.rounds == 3


def test_a_row_per_core_counts_the_seconds_of_all_processors():
    row = rate_row("input", "", "images/s", 100, Times([1], [4]), "peer", Times([1], [2]), per_core=True)
    assert (row.ours, row.theirs, row.ratio) == (25, 50, 0.5)
    assert row.met is None and row.goal == ""


def test_a_row_of_seconds_compares_with_as_many_of_the_peers_passes():
    row = time_row("epoch", "", Times([10.2, 10.4, 10.3]), "steps", Times([1, 1, 1]), at_most(1.03), times=10)
    assert row.ratio == pytest.approx(1.03) and row.theirs == 10 and row.goal == "≤ 1.03 ×"
    assert time_row("epoch", "", Times([2]), "steps", Times([1]), at_most(1.03)).met is False


def test_a_figure_of_its_own_is_judged_by_itself():
    row = figure_row("store", "256 px", "s", 26.0, goal=Goal("≤", 25, "ours"))
    assert row.goal == "≤ 25 s" and row.met is False
    assert figure_row("store", "256 px", "bytes", 101.0, 100.0, peer="raw bytes", goal=at_most(1.01)).met is True


def test_a_peer_that_cannot_run_has_a_row_that_says_why():
    row = absent_row("step", "resnet18", "images/s", "fastai", "No module named 'fastai'", at_least(1))
    text = in_words(as_table([row]))
    assert "fastai" in text and "[1] No module named 'fastai'" in text and "NO " not in text
    assert math.isnan(row.ours) and row.met is None


def test_the_table_says_what_was_missed_and_numbers_each_note_once():
    rows = [
        rate_row("step", "64 px", "images/s", 4, Times([1]), "a", Times([2]), at_least(1), note="as it comes"),
        rate_row("step", "64 px", "images/s", 12_000, Times([1]), "b", Times([0.5]), at_least(1), note="as it comes"),
    ]
    lines = in_words(as_table(rows)).splitlines()
    assert "yes" in lines[2] and "NO" in lines[3] and "12,000 images/s" in lines[3]
    assert lines[4:] == ["[1] as it comes"]


def make_group(*rows: Row, error: Exception | None = None):
    def group(_: Setting):
        yield from rows
        if error:
            raise error

    return group


@pytest.fixture
def two_groups(monkeypatch):
    """One that works and one that stops after its first row."""
    row = rate_row("step", "64 px", "images/s", 4, Times([1]), "a", Times([2]), at_least(1))
    made = {"fine": make_group(row), "broken": make_group(row, error=RuntimeError("out of paper"))}
    monkeypatch.setattr(groups, "GROUPS", {name: name for name in made})
    monkeypatch.setattr(groups, "_function", made.get)


@pytest.mark.usefixtures("two_groups")
def test_a_group_that_stops_keeps_its_rows_and_costs_no_other(tmp_path, capsys):
    table, stopped = measure.measure(Setting(tmp_path, 1))
    assert stopped == ["broken"] and table["group"].tolist() == ["fine", "broken", "broken"]
    assert table["note"].iloc[2] == "stopped: RuntimeError: out of paper"
    assert "out of paper" in capsys.readouterr().err


@pytest.mark.usefixtures("two_groups")
def test_the_csv_holds_hardware_versions_commit_and_date(own_reports, capsys):
    assert main(["bench", "--quick", "--rounds", "1"]) == 1  # a group stopped
    (csv,) = (own_reports / "bench").glob("*.csv")
    table = pd.read_csv(csv)
    assert len(table) == 3 and "torch" in table["versions"][0] and table["hardware"].notna().all()
    assert {"commit", "date", "device", "ratio", "goal", "met", "rounds", "note"} <= set(table)
    assert csv.with_suffix(".json").is_file() and "quick" in csv.name
    assert str(csv.name) in capsys.readouterr().out


def test_a_peer_that_is_not_installed_is_named_with_the_command_that_brings_it():
    passes, reasons = peers.ready({"gone": "no_such_file:train"}, None)
    assert passes == {} and "not installed (pip install '.[bench]')" in reasons["gone"]


def test_a_peer_that_stops_or_does_other_work_is_left_out_with_the_reason(monkeypatch):
    def stops(_):
        raise TypeError("of another\nversion")

    def refuse(found: int) -> str | None:
        return None if found == 4 else f"made {found} of 4 images"

    made = {"stops": stops, "lazy": lambda _: lambda: 3, "fine": lambda _: lambda: 4}
    monkeypatch.setattr(peers, "_builder", made.get)
    passes, reasons = peers.ready({name: name for name in made}, None, refuse)
    assert list(passes) == ["fine"]
    assert reasons == {"stops": "TypeError: of another version", "lazy": "made 3 of 4 images"}


def test_the_photographs_are_drawn_once_and_are_the_same_everywhere(tmp_path, monkeypatch):
    first, other = eyes(tmp_path / "a", 6, 32), eyes(tmp_path / "b", 6, 32)
    files = [[Path(path).read_bytes() for path in table["path"]] for table in (first, other)]
    assert files[0] == files[1] and len(set(files[0])) == 6
    assert sorted(first["label"]) == [0, 0, 1, 2, 3, 4]
    monkeypatch.delattr("labkit.bench.photographs.fundus")
    assert eyes(tmp_path / "a", 6, 32).equals(first)


def quick(group: str, own_reports: Path) -> pd.DataFrame:
    assert main(["bench", "--only", group, "--quick", "--rounds", "1"]) == 0
    (csv,) = (own_reports / "bench").glob("*.csv")
    return pd.read_csv(csv)


def test_the_input_rows_compare_as_many_images_of_every_tool(own_reports, capsys):
    table = quick("input", own_reports)
    ran = table[table["ratio"].notna()]
    assert {"plain loop", "torchvision recipe"} <= set(ran["peer"]) and (ran["ours"] > 0).all()
    assert set(table["what"]) == {"input, to a uint8 batch", "input, to a float32 batch"}
    assert table["met"].isna().all()  # quick figures are no figures
    out, err = capsys.readouterr()
    assert out.startswith("what ") and "Decoding" in err


def test_a_frozen_epoch_keeps_nothing_of_the_backbone_and_a_whole_one_does(own_reports):
    table = quick("frozen", own_reports)
    assert table["ours"].iloc[1] == 0 and table["unit"].iloc[1] == "nodes"
    training = Training("resnet18", params_for(32, 2, device="cpu"))
    batch = {"images": torch.zeros(2, 32, 32, 3, dtype=torch.uint8), "labels": torch.zeros(2, dtype=torch.int64)}
    assert kept_of_backbone(training, batch) > 40


@pytest.mark.slow
@pytest.mark.parametrize("group", ["input-rotated", "epoch", "step", "evaluation", "device"])
def test_every_group_runs_in_its_smallest_form(group, own_reports):
    """Peers that are installed must also do the work: a note other than `not installed` would be a broken one."""
    table = quick(group, own_reports)
    stopped = table.loc[table["ours"].isna(), "note"]
    allowed = stopped.str.contains("not installed|rotates batches of floats alone").astype(bool)
    assert allowed.all(), stopped[~allowed].tolist()


def test_an_option_that_this_machine_cannot_have_is_a_row_with_the_reason(tmp_path, monkeypatch):
    def no_compiler(_):
        raise RuntimeError("InvalidCxxCompiler: no working C++ compiler found")

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(option_rows, "options", lambda _: [("torch.compile", {"compiled": True}, {})])
    (row,) = option_rows.rows(Setting(tmp_path, 1, quick=True))
    assert row.what == "training step, torch.compile" and "no working C++ compiler" in row.note


def test_a_run_gives_the_peers_torchs_own_settings_back():
    threads = torch.get_num_threads()
    with as_in_a_run(params_for(32, 2, device="cpu", threads=1)):
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == threads


def test_an_unknown_group_is_refused(capsys):
    assert main(["bench", "--only", "inptu"]) == 2
    assert "inptu" in capsys.readouterr().err


def test_every_group_names_a_function_that_is_there():
    for place in groups.GROUPS.values():
        assert callable(groups._function(place))


def test_a_device_that_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["bench", "--device", "cuda"]) == 2
    assert "does not have" in capsys.readouterr().err
