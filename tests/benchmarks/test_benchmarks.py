"""The benchmark's own machinery: turns, rows, the table. What it measures is not asserted here."""

import math
from pathlib import Path

import made_pictures
import measuring
import ours
import pandas as pd
import pytest
import run
import tasks
import torch
from made_pictures import eyes
from measuring import Bench, compared, met, row


class FakeClock:
    """A clock that only a contestant's work moves."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def works(self, name: str, seconds: float):
        def once() -> None:
            self.log.append(name)
            self.now += seconds

        return once

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def fake(monkeypatch) -> FakeClock:
    monkeypatch.setattr(measuring.gc, "collect", lambda: 0)  # it takes long among all other tests' objects
    return FakeClock()


def test_contestants_are_warmed_up_and_then_take_turns(fake):
    times = Bench(Path(), 3).times("", {"a": fake.works("a", 1), "b": fake.works("b", 2)}, clock=fake)
    assert "".join(fake.log) == "ab" + "ababab" and times == {"a": [1, 1, 1], "b": [2, 2, 2]}


def test_short_passes_are_repeated_until_they_fill_a_round(fake):
    both = {"short": fake.works("s", 0.25), "long": fake.works("l", 2)}
    times = Bench(Path(), 1).times("", both, fill=1, clock=fake)
    assert "".join(fake.log) == "ss" + "ll" + "ssss" + "l"
    assert times["short"] == [0.25]  # of one pass


def test_a_device_is_waited_for_before_the_clock_is_read(fake, monkeypatch):
    """What a GPU still has to do when the loop ends belongs to the pass."""
    behind = []

    def wait(_: Bench) -> None:
        fake.now += len(behind)
        behind.clear()

    monkeypatch.setattr(Bench, "wait", wait)
    times = Bench(Path(), 2).times("", {"gpu": lambda: behind.append(1)}, warm=False, clock=fake)
    assert times["gpu"] == [1, 1]


def test_the_ratio_of_rates_is_the_median_of_the_rounds_own_ratios():
    """The machine was ten times as slow in the second round: separate medians would compare different rounds."""
    told = {"goal": "≥ 2 ×", "count": 100}
    found = compared("input", "64 px", "images/s", [1, 10, 2], "plain loop", [2, 20, 8], **told)
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (2, 2, 4)
    assert (found["ours"], found["theirs"], found["met"], found["rounds"]) == (50, 12.5, True, 3)


def test_seconds_are_compared_the_other_way_round():
    assert compared("epoch", "", "s", [10.3], "steps", [10], goal="≤ 1.03 ×")["met"] is True
    assert compared("epoch", "", "s", [2], "steps", [1], goal="≤ 1.03 ×")["ratio"] == 2


@pytest.mark.parametrize(
    ("goal", "ratio", "ours", "expected"),
    [("≤ 25 s", math.nan, 26.0, False), ("≤ 1.01 ×", 1.01, 99.0, True), ("≥ 1 ×", math.nan, 9, None), ("", 1, 1, None)],
)
def test_a_goal_is_about_the_ratio_or_about_our_own_figure(goal, ratio, ours, expected):
    assert met(goal, ratio, ours) is expected


def group(*rows, error: Exception | None = None):
    def made(_: Bench):
        yield from rows
        if error:
            raise error

    return [made]


@pytest.fixture
def two_groups(monkeypatch):
    """One that works and one that stops after its first row."""
    fine = compared("step", "64 px", "images/s", [1], "a", [0.5], count=12_000, goal="≥ 1 ×")
    absent = compared("step", "64 px", "images/s", [1], "fastai", "no module named fastai", goal="≥ 1 ×")
    broken = group(fine, error=RuntimeError("out of paper"))
    monkeypatch.setattr(run, "GROUPS", {"fine": group(fine, absent), "broken": broken})


@pytest.mark.usefixtures("two_groups")
def test_a_group_that_stops_keeps_its_rows_and_costs_no_other(tmp_path, capsys):
    table, stopped = run.measure(Bench(tmp_path, 1), ["fine", "broken"])
    assert stopped == ["broken"] and table["group"].tolist() == ["fine", "fine", "broken", "broken"]
    assert table["note"].iloc[3] == "stopped: RuntimeError: out of paper"
    assert "out of paper" in capsys.readouterr().err
    lines = run.in_words(table).splitlines()
    assert "12,000" in lines[1] and lines[1].rstrip().endswith("NO")
    assert "step, fastai: no module named fastai" in lines and math.isnan(table["ours"][1]) and pd.isna(table["met"][1])


@pytest.mark.usefixtures("two_groups")
def test_the_csv_holds_hardware_versions_commit_and_date(own_reports, capsys):
    assert run.main(["--quick", "--rounds", "1"]) == 1  # a group stopped
    (csv,) = (own_reports / "bench").glob("*.csv")
    table = pd.read_csv(csv)
    assert len(table) == 4 and "torch" in table["versions"][0] and table["hardware"].notna().all()
    assert {"commit", "date", "device", "ratio", "goal", "met", "rounds", "note"} <= set(table)
    assert table["met"].isna().all()  # quick figures are no figures
    assert "quick" in csv.name and csv.name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "inptu"], "there are input, input-rotated"),
        (["--rounds", "0"], "at least 1"),
        (["--device", "cuda"], "choose from"),
    ],
)
def test_wrong_use_is_refused_in_words(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        run.main(arguments)
    assert words in capsys.readouterr().err


def test_a_peer_that_cannot_run_or_does_other_work_is_left_out_with_the_reason(monkeypatch):
    def stops(_):
        raise TypeError("of another\nversion")

    made = {"peer_stops": stops, "peer_lazy": lambda _: lambda: 3, "peer_fine": lambda _: lambda: 4}
    kinds = {name: (name, ("train",), "") for name in [*made, "no_such_file"]}
    monkeypatch.setattr(tasks, "PEERS", kinds | {"other": ("peer_fine", ("load",), "")})
    for name, train in made.items():
        monkeypatch.setitem(run.sys.modules, name, type("Peer", (), {"train": staticmethod(train)}))
    passes, reasons = tasks.ready("train", None, lambda found: "" if found == 4 else f"made {found} of 4 images")
    assert list(passes) == ["peer_fine"]
    assert reasons.pop("no_such_file") == "no_such_file is not installed (pip install '.[bench]')"
    assert reasons == {"peer_stops": "TypeError: of another version", "peer_lazy": "made 3 of 4 images"}


def test_the_photographs_are_drawn_once_and_are_the_same_everywhere(tmp_path, monkeypatch):
    first, other = eyes(tmp_path / "a", 6, 32), eyes(tmp_path / "b", 6, 32)
    files = [[Path(path).read_bytes() for path in table["path"]] for table in (first, other)]
    assert files[0] == files[1] and len(set(files[0])) == 6
    assert sorted(first["label"]) == [0, 0, 1, 2, 3, 4]
    monkeypatch.delattr(made_pictures, "fundus")
    assert eyes(tmp_path / "a", 6, 32).equals(first)


def quick(name: str, own_reports: Path) -> pd.DataFrame:
    assert run.main(["--only", name, "--quick", "--rounds", "1"]) == 0
    (csv,) = (own_reports / "bench").glob("*.csv")
    return pd.read_csv(csv)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in run.GROUPS if name != "report"])
def test_every_group_runs_in_its_smallest_form(name, own_reports, capsys):
    """Peers that are installed must also do the work: a note other than `not installed` would be a broken one."""
    table = quick(name, own_reports)
    stopped = table.loc[table["ours"].isna(), "note"].astype(str)
    allowed = stopped.str.contains("not installed|rotates batches of floats alone").astype(bool)
    assert allowed.all(), stopped[~allowed].tolist()
    if name == "input":
        assert {"plain loop", "torchvision recipe"} <= set(table.loc[table["ratio"].notna(), "peer"])
        out, err = capsys.readouterr()
        assert "input, to a uint8 batch" in out and "Decoding" in err  # what tools print is not in the table


def test_a_run_gives_the_peers_torchs_own_settings_back():
    threads = torch.get_num_threads()
    with ours.as_in_a_run(ours.params_for(32, 2, device="cpu", threads=1)):
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == threads


def test_a_row_of_bytes_is_judged_by_its_ratio():
    assert row("store", "256 px", "MB", 101.0, "raw bytes", 100.0, goal="≤ 1.01 ×")["met"] is True
