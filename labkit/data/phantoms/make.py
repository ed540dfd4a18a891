"""Built-in synthetic data sets, so that everything runs without a download: drawn once, then read like real data.

They are phantoms in radiology's sense: objects with known content for testing an instrument. A number measured on them
says nothing about patients. They lie in the two courses' own layouts, with the courses' own faults, on purpose:

- the split is dealt by image, so most test images have the same person's other images in train;
- the retinopathy label files have no header row; the leukemia test files have no labels, in three orders;
- one file is truncated: its header is fine and decoding it fails;
- one image lies under two names with the same label, once in train and once in test (valid for leukemia);
- one image lies under two names with different labels, both in train.

For leukemia the index `cnmc2019_train_index.csv` lists every cell once, by its name in C-NMC 2019 (which carries the
subject) and the SHA-256 of its file, as the release's index does. It does not list the two copies.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from labkit.data.phantoms.cells import Subject, cell
from labkit.data.phantoms.fundus import Patient, fundus
from labkit.data.phantoms.plans import CELLS, ENDINGS, EYES, leukemia_plan, retinopathy_plan

VERSION = 3  # goes into the folder's name: raise it whenever a byte of any phantom changes


def phantom(dataset: str, name: str, cache: Path) -> Path:
    """The folder `cache/phantoms/<dataset>-<name>-v<VERSION>` of a built-in data set, drawn if it is not there yet.

    `dataset` is 'retinopathy' or 'leukemia'; `name` is 'demo', 'demo-source' (balanced, other people and cameras, no
    traps), 'demo-camera' (a camera that no other set has, no traps) or 'tiny' (for tests); ValueError names them. The
    same numpy and Pillow give the same bytes.
    """
    for given, known in ((dataset, _WRITERS), (name, EYES)):
        if given not in known:
            raise ValueError(f"no phantoms {name!r} of {dataset!r}: {given!r} is not one of {', '.join(known)}")
    folder = Path(cache) / "phantoms" / f"{dataset}-{name}-v{VERSION}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):  # one process draws, the others wait for it
        for leftover in folder.parent.glob(f".{folder.name}-*"):  # of one that was killed
            shutil.rmtree(leftover)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as unfinished:
                drawn = Path(unfinished, folder.name)
                drawn.mkdir()
                _WRITERS[dataset](name, drawn)
                drawn.rename(folder)
    return folder


def _save(
    plan: pd.DataFrame, name: str, folder: Path, draw: Callable[[dict[str, Any]], np.ndarray], **how: Any
) -> list:
    """Draws the rows of a plan into files called `name`, and copies those that are copies; returns the rows drawn."""
    own, copies = (plan.loc[plan["copy_of"].notna() == copied].to_dict("records") for copied in (False, True))
    for row in own:
        path = folder / name.format(**row)
        Image.fromarray(draw(row)).save(path, **how)
        if row["truncated"]:  # as a download that broke off: the header tells the size, the pixels end early
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for row in copies:
        shutil.copyfile(folder / name.format(**dict.fromkeys(row, row["copy_of"])), folder / name.format(**row))
    return own


def _write_retinopathy(name: str, folder: Path) -> None:
    spec, plan = EYES[name], retinopathy_plan(name)
    what = f"{len(plan)} synthetic fundus photographs of {len(plan) // 2} patients, {spec.size} px"
    print(f"drawing {what} (retinopathy {name}, about {len(plan) * (spec.size**2) * 0.3 / 1e6:.1f} MB)")
    (folder / "images").mkdir()

    def draw(row: dict[str, Any]) -> np.ndarray:
        patient = Patient(np.random.default_rng([spec.seed, 1, row["patient"]]), spec.origin)
        rng = np.random.default_rng([spec.seed, 2, row["patient"], int(row["side"] == "right")])
        return fundus(row["grade"], row["side"], rng, patient, spec.size)

    _save(plan, "images/{image_id}.jpeg", folder, draw, quality=92)
    for split, part in plan.groupby("split"):
        part["image_id"].to_csv(folder / f"{split}_img.csv", header=False, index=False, lineterminator="\n")
        part["grade"].to_csv(folder / f"{split}_label.csv", header=False, index=False, lineterminator="\n")


def _write_leukemia(name: str, folder: Path) -> None:
    spec, plan = CELLS[name], leukemia_plan(name)
    what = f"{len(plan)} synthetic white blood cells of {spec.ill + spec.healthy} subjects, {spec.size} px"
    print(f"drawing {what} (leukemia {name}, {len(plan) * (spec.size**2 * 3 + 54) / 1e6:.1f} MB)")
    for split in ("train", "valid", "test"):
        (folder / "new_dataset" / split).mkdir(parents=True)
    people = {person: k for k, person in enumerate(sorted(plan["subject"].unique()))}

    def draw(row: dict[str, Any]) -> np.ndarray:
        who = people[row["subject"]]
        subject = Subject(np.random.default_rng([spec.seed, 1, who]), spec.origin)
        rng = np.random.default_rng([spec.seed, 2, who, row["image"], row["cell"]])
        return cell(row["label"], rng, subject, spec.size)

    own = _save(plan, "{path}", folder, draw)
    for split in ("train", "valid"):
        table = plan.loc[plan["split"] == split, ["path", "label"]]
        table.to_csv(folder / f"{split}.csv", index=False, header=["Path", "label"], lineterminator="\n")
    tested, rng = plan.loc[plan["split"] == "test", ["path"]], np.random.default_rng([spec.seed, 3])
    for depth in (18, 50, 152):
        shuffled = tested.iloc[rng.permutation(len(tested))]
        shuffled.to_csv(folder / f"resnet_{depth}_test.csv", index=False, header=["Path"], lineterminator="\n")
    # the release's listing, sorted by fold, label and name, with CRLF line ends as in the release's copy
    listed = pd.DataFrame(own, columns=["file", "fold", "label", "subject", "image", "cell"])
    listed["label"] = [ENDINGS[label] for label in listed["label"]]
    files = [(folder / row["path"]).read_bytes() for row in own]
    listed["sha256"], listed["bytes"] = [hashlib.sha256(data).hexdigest() for data in files], [*map(len, files)]
    listed = listed.sort_values(["fold", "label", "file"])
    listed.to_csv(folder / "cnmc2019_train_index.csv", index=False, lineterminator="\r\n")


_WRITERS: dict[str, Callable[[str, Path], None]] = {"retinopathy": _write_retinopathy, "leukemia": _write_leukemia}
