"""What stands under a report's title: study, date, code, data, device, as label and value."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.data.source import PHANTOMS
from labkit.format import fixed, plural, whole
from labkit.params import RunParams


def title_facts(study_file: str, params: RunParams, manifests: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Of the finished runs' manifests; `params` are those of one compared run. No clock: the date is the last run's."""
    found = {"Study": study_file}
    if dates := sorted(manifest["finished_at"][:10] for manifest in manifests if manifest.get("finished_at")):
        found["Date"] = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    if commits := _listed(manifests, "git_commit"):
        found["Commit"] = commits
    images = max((sum(manifest["n_images"].values()) for manifest in manifests if "n_images" in manifest), default=0)
    data = PHANTOMS.get(params.data, f"“{Path(params.data).name}”, {params.dataset}")
    found["Data"] = f"{data}, {plural(whole(images), 'labelled image')}" if images else data
    if devices := _listed(manifests, "device"):
        found["Device"] = devices
    minutes = sum(float(manifest.get("seconds", 0)) for manifest in manifests) / 60
    found["Runs"] = f"{whole(len(manifests))}, {plural(fixed(minutes, 1), 'minute')} in all"
    return found


def _listed(manifests: Sequence[Mapping[str, Any]], key: str) -> str:
    """The values that occur, in the order of the runs."""
    return ", ".join(dict.fromkeys(str(manifest[key]) for manifest in manifests if manifest.get(key)))
