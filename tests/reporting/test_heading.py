"""The lines under a report's title are those of its runs' manifests."""

from labkit.params import RunParams
from labkit.reporting.page.report import title_facts

MANIFEST = {"n_images": {"train": 100, "test": 20}, "git_commit": "abc", "device": "cpu", "seconds": 90}


def test_the_title_block_is_of_the_manifests_and_not_of_the_clock():
    manifests = [MANIFEST | {"finished_at": f"2026-11-{day}T10:00:00+00:00"} for day in (21, 20)]
    facts = title_facts("params/s.yaml", RunParams(data="somewhere/eyes"), manifests)
    assert facts == {
        "Study": "params/s.yaml",
        "Date": "2026-11-20 to 2026-11-21",
        "Commit": "abc",
        "Data": "“eyes”, retinopathy, 120\u00a0labelled images",
        "Device": "cpu",
        "Runs": "2, 3.0\u00a0minutes added up",
    }


def test_what_a_manifest_does_not_say_is_left_out():
    facts = title_facts("params/s.yaml", RunParams(data="demo"), [{"git_commit": None, "seconds": 0}])
    assert list(facts) == ["Study", "Data", "Runs"] and "synthetic" in facts["Data"]
