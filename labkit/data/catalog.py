"""The facts of every data set, each stated once; readers check what lies on the disk against them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from labkit.params import DataParams

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative DR")
# Names and order: medmnist/info.py of MedMNIST 2.1.0, which appends the three stages to the fourth.
BLOOD_CELLS = ("basophil", "eosinophil", "erythroblast", "immature granulocytes")
BLOOD_CELLS += ("lymphocyte", "monocyte", "neutrophil", "platelet")


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a data set before its files are opened."""

    name: str
    title: str
    task: Literal["grades", "classes"]  # grades are ordered: an error of two grades is worse than one of one
    classes: tuple[str, ...]
    group_name: str = "group"  # what one group is: a patient, a subject
    group_pattern: str | None = None  # on the file stem; named groups `group` and, if there is one, `side`
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)  # by split: the full release's images per class
    uncounted: dict[str, int] = field(default_factory=dict)  # by split: its images, where their classes are unknown
    aliases: dict[str, str] = field(default_factory=dict)  # other spellings of a class, in lower case
    licence: str = "not verified; see the data set's own page"
    source: str = ""
    course_split_note: str = ""

    @property
    def score(self) -> Literal["qwk", "macro_f1"]:
        """The metric that a run is chosen by."""
        return "qwk" if self.task == "grades" else "macro_f1"


CATALOG: dict[str, DatasetFacts] = {
    "retinopathy": DatasetFacts(
        name="retinopathy",
        title="Diabetic retinopathy grades (EyePACS fundus photographs, Kaggle 2015)",
        task="grades",
        classes=GRADES,
        group_name="patient",
        group_pattern=r"^(?P<group>\d+)_(?P<side>left|right)$",
        # counted in the course's four label files; the same ids and labels as Kaggle's trainLabels.csv
        counts={"train": (20656, 1955, 4210, 698, 581), "test": (5154, 488, 1082, 175, 127)},
        licence="Kaggle competition data (the competition's rules apply)",
        source="Diabetic Retinopathy Detection, Kaggle 2015, https://www.kaggle.com/c/diabetic-retinopathy-detection",
        course_split_note="The course splits by image: 5,618 of its 7,026 test images (80.0 %) "
        "show a patient whose other eye is in train.",
    ),
    "leukemia": DatasetFacts(
        name="leukemia",
        title="Leukemia cells (C-NMC 2019: ALL against normal)",
        task="classes",
        classes=("HEM", "ALL"),
        group_name="subject",
        # 36 files of the release spell UID_h3_…, so the reader matches any case and upper-cases the subject
        group_pattern=r"^UID_(?P<group>H?\d+)_\d+_\d+_(?:all|hem)$",
        counts={"train": (2542, 5453), "val": (508, 1091)},
        uncounted={"unlabeled": 1067},
        aliases={"normal": "HEM"},
        source="C-NMC 2019, the training set of the ISBI 2019 challenge",
        course_split_note="The course's 7,995 + 1,599 + 1,067 images are C-NMC's 10,661 labelled training images, "
        "split again by image and renamed, which hides the subject; each subject has one label only.",
    ),
    "retinamnist": DatasetFacts(
        name="retinamnist",
        title="RetinaMNIST (diabetic retinopathy grades, 28 × 28 pixels)",
        task="grades",
        classes=GRADES,
        group_name="patient",
        # counted in retinamnist.npz, md5 bd4c0672f1bba3e3a89f0e4e876791e4 (MedMNIST's own)
        counts={"train": (486, 128, 206, 194, 66), "val": (54, 12, 28, 20, 6), "test": (174, 46, 92, 68, 20)},
        licence="CC BY 4.0",
        source="MedMNIST v2, https://github.com/MedMNIST/MedMNIST/",
    ),
    "bloodmnist": DatasetFacts(
        name="bloodmnist",
        title="BloodMNIST (eight kinds of blood cell, 28 × 28 pixels)",
        task="classes",
        classes=BLOOD_CELLS,
        group_name="patient",
        uncounted={"train": 11959, "val": 1712, "test": 3421},
        licence="CC BY 4.0",
        source="MedMNIST v2, https://github.com/MedMNIST/MedMNIST/",
    ),
}

STAGE = re.compile(r"mild|moderate|severe|proliferative|\b(stage|grade|level)\b", re.IGNORECASE)
TASKS = {
    "grades": "grades, which are ordered (scored by kappa)",
    "classes": "classes, not ordered (scored by macro F1)",
}
CUSTOM = "custom"  # any other data: the classes come from the data
GUESS = "guess"  # for the reader, which knows some data sets by the names of their files


def facts(name: str) -> DatasetFacts:
    """The facts of data set `name`; `custom` has no classes yet. ValueError lists the names there are."""
    if name == CUSTOM:
        return DatasetFacts(name=CUSTOM, title="Custom data", task="classes", classes=())
    if name not in CATALOG:
        raise ValueError(f"unknown data set {name!r}; known are: {', '.join([*CATALOG, CUSTOM])}")
    return CATALOG[name]


def facts_of(params: DataParams) -> DatasetFacts:
    """The facts of the data set that `params` names, with the classes and the task that they set."""
    known = facts(params.dataset)
    return replace(known, task=params.task or known.task, classes=tuple(params.class_names or known.classes))


def may_be_grades(classes: Sequence[str]) -> bool:
    """Whether three or more classes are named as stages are, mostly, or are the numbers 0 to 4, 1 to 5 or the like."""
    numbers = [str(number) for number in range(len(classes) + 1)]
    numbered = len(classes) <= 6 and [*classes] in (numbers[:-1], numbers[1:])
    return len(classes) > 2 and (numbered or 2 * sum(bool(STAGE.search(name)) for name in classes) > len(classes))


def task_and_why(known: DatasetFacts, params: DataParams) -> str:
    """Whether the classes are ordered, and who says so."""
    unset = "as the catalog says" if known.name in CATALOG else "a guess, as task is not set"
    why = "as task says" if params.task else unset
    if known.task == "classes" and not params.task and may_be_grades(known.classes):
        why += "; their names may be those of grades: if they are, set task: grades"
    return f"{TASKS[known.task]}; {why}"
