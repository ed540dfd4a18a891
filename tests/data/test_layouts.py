"""Public data sets, rebuilt small from their descriptions with drawn images: what each is read as, or the cure it gets.

params/README.md lists the same layouts, under "Layouts that are read".
"""

import numpy as np
import pytest
from PIL import Image

from labkit.data.readers import DataError, read
from labkit.params import PROJECT, DataParams

N = range(12)
IDRID = ("a. Training Set", "b. Testing Set")


def table(heading: str, rows) -> str:
    return "\n".join([heading, *(",".join(map(str, row)) for row in rows)]) + "\n"


def kinds(*names: str, form: str = "{kind}/{n}.png") -> list[str]:
    return [form.format(kind=kind, n=n, p=n // 2) for kind in names for n in N]


CHEXPERT = [(f"CheXpert-v1.0-small/train/patient{n // 2:05}/study1/view{1 + n % 2}_frontal.jpg", n // 2 % 2) for n in N]
ISIC = table("image,MEL,NV,BCC", [(f"ISIC_{n:07}", *(float(n % 3 == k) for k in range(3))) for n in N])
NIH_HEADING = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age"
ODIR = "ID,Patient Age,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,N,D,G"
CANCER = "breast/{kind}/SOB/adenosis/SOB_B_A_14-{p}{kind}/100X/SOB_B_A-14-{p}{kind}-100-{n}.png"

# name: images, tables, parameters, then what it is read as (classes, images by split, groups), or the refusal's words
LAYOUTS: dict[str, tuple] = {
    "HAM10000": (
        [f"HAM10000_images_part_{1 + n % 2}/ISIC_{n:07}.jpg" for n in N],
        {"HAM10000_metadata.csv": table("lesion_id,image_id,dx", [(f"HAM_{n // 2}", f"ISIC_{n:07}", "nv") for n in N])},
        {},
        (("nv",), {}, 6),
    ),
    "NIH ChestX-ray14": (
        [f"images_00{1 + n % 2}/images/{n:08}_000.png" for n in N],
        {"Data_Entry_2017.csv": table(NIH_HEADING, [(f"{n:08}_000.png", "Edema|Mass", 0, n // 2, 50) for n in N])},
        {},
        "names several classes.*set label_column to a column of one finding, or name the combinations in class_names",
    ),
    "CheXpert": (
        [path.partition("/")[2] for path, _ in CHEXPERT],
        {"train.csv": table("Path,Sex,Edema,Mass", [(path, "Male", f"{label}.0", "") for path, label in CHEXPERT])},
        {"label_column": "Edema", "group_pattern": r"(?P<group>patient\d+)"},
        (("0", "1"), {}, 6),
    ),
    "ODIR-5K": (
        [f"Training Images/{n}_{side}.jpg" for n in N for side in ("left", "right")],
        {"full_df.csv": table(ODIR, [(n, 60, f"{n}_left.jpg", f"{n}_right.jpg", "cataract", 1, 0, 0) for n in N])},
        {},
        "full_df.csv was not read: no column for label",
    ),
    "IDRiD": (
        [f"1. Original Images/{part}/IDRiD_{n:03}.jpg" for part in IDRID for n in N],
        {
            f"2. Groundtruths/{part[:2]} IDRiD_Disease Grading_{part[3:-4]} Labels.csv": table(
                "Image name,Retinopathy grade,Risk of macular edema", [(f"IDRiD_{n:03}", n % 5, 0) for n in N]
            )
            for part in IDRID
        },
        {},
        (tuple("01234"), {"train": 12, "test": 12}, 0),
    ),
    "Messidor-2": (
        [f"IMAGES/im{n:04}.png" for n in N],
        {"messidor_data.csv": table("image_id,adjudicated_dr_grade", [(f"im{n:04}.png", n % 5) for n in N])},
        {"label_column": "adjudicated_dr_grade"},
        (tuple("01234"), {}, 0),
    ),
    "BreakHis": (
        kinds("benign", "malignant", form=CANCER),
        {},
        {"class_names": ["benign", "malignant"], "group_pattern": r"SOB_B_\w+-(?P<group>\d+-\w+)-\d+-\d+"},
        (("benign", "malignant"), {}, 12),
    ),
    "PatchCamelyon-like folders": (
        [f"{part}/{name}" for part in ("train", "valid", "test") for name in kinds("0", "1")],
        {},
        {},
        (("0", "1"), {"train": 24, "val": 24, "test": 24}, 0),
    ),
    "ISIC, one column per class": (
        [f"ISIC_2019_Training_Input/ISIC_{n:07}.jpg" for n in N],
        {"ISIC_2019_Training_GroundTruth.csv": ISIC},
        {},
        "no column label.*set path_column and label_column",
    ),
    "Kaggle brain tumour": (
        [f"{part}/{name}" for part in ("Training", "Testing") for name in kinds("glioma", "notumor")],
        {},
        {},
        (("notumor", "glioma"), {"train": 24, "test": 24}, 0),
    ),
    "BUSI, with masks": (
        [
            name
            for end in ("", "_mask")
            for name in kinds("benign", "malignant", "normal", form=f"{{kind}}/{{n}}{end}.png")
        ],
        {},
        {},
        (("benign", "malignant", "normal"), {}, 0),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_public_layouts_are_read_right_or_refused_with_the_cure(tmp_path, name):
    images, tables, options, expected = LAYOUTS[name]
    for number, path in enumerate(images):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((24, 24, 3), 7 * number % 256, np.uint8)).save(tmp_path / path)
    for path, text in tables.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    params = DataParams.of({"dataset": "custom"} | options)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            read(params, tmp_path)
        return
    data = read(params, tmp_path)
    classes, splits, groups = expected
    assert data.facts.classes == classes and data.table["split"].value_counts().to_dict() == splits
    assert data.table["group"].nunique() == groups and all(data.reading.values())


def test_the_tables_of_layouts_and_parameters_are_whole():
    text = (PROJECT / "params" / "README.md").read_text()
    named = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert {*LAYOUTS, *(f"`{name}`" for name in DataParams.model_fields)} <= set(named)
