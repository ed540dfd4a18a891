"""Folders as people have them, built small: each is read as expected, or refused with what decides. Label files here;
each case names its source where it was reported."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_readers import save_arrays, write

from labkit.data.readers import READING, DataError, read
from labkit.params import DataParams

NP = ("neg", "pos")
MAC_FORM = unicodedata.normalize("NFD", "Läsion")


def images(form: str, numbers: Sequence[int] | range) -> dict[str, bytes]:
    return {form.format(number): b"" for number in numbers}


def table(heading: str, form: str, numbers: Sequence[int] | range, *more: Sequence[Any]) -> str:
    """A CSV text: a row for each number, with the values of `more` by its position in turn."""
    rows = [[form.format(number), *(values[at % len(values)] for values in more)] for at, number in enumerate(numbers)]
    return "\n".join([heading, *(",".join(map(str, row)) for row in rows)]) + "\n"


def by_part(heading: str, train: Sequence[Any], test: Sequence[Any]) -> dict[str, str | bytes]:
    """train.csv and test.csv of ten images each, with a third column."""
    files: dict[str, str | bytes] = {}
    for part, values in (("train", train), ("test", test)):
        files |= images(f"img/{part}{{}}.png", range(10))
        files[f"{part}.csv"] = table(heading, f"img/{part}{{}}.png", range(10), NP, values)
    return files


def one(heading: str, *more: Sequence[Any], form: str = "img/{}.png", n: int = 20, name: str = "labels.csv") -> dict:
    return images(form, range(n)) | {name: table(heading, form, range(n), *more)}


PAIRS = [number // 2 for number in range(20)]
FOURS = [number // 4 for number in range(20)]
HAM = {f"HAM10000_images_part_{1 + i // 10}/ISIC_{24300 + i:07d}.jpg": b"" for i in range(20)}
IDRID = {f"{part} Set/IDRiD_{i:03d}.jpg": b"" for part in ("a. Training", "b. Testing") for i in range(10)}
PLAIN = images("neg/{}.png", range(8)) | images("pos/1{}.png", range(8))
TREE = images("train/benign/{}.png", range(8)) | images("train/malignant/{}.png", range(8))
EYES = {f"{('cataract', 'normal')[i % 2]}/{i}_{side}.jpg": b"" for i in range(10) for side in ("left", "right")}
NFD = {unicodedata.normalize("NFD", f"Lésion_{i}.png"): b"" for i in range(4)}
GRADED = table("Image name,Retinopathy grade,Risk of macular edema", "IDRiD_{:03d}", range(10), range(5), [1])
BOTH = images("img/{}.png", range(4)) | images("img/{}.jpg", range(4))
ODIR = images("ODIR-5K_Training_Dataset/{}_left.jpg", range(8)) | images(
    "ODIR-5K_Testing_Dataset/{}_left.jpg", range(8)
)

# id: (files, parameters, classes, patients and images without one, images by split, words of the notes and the reading)
READ: dict[str, tuple] = {
    "a01-ham10000": (
        HAM | {"HAM10000_metadata.csv": table("image_id,lesion_id,dx", "ISIC_{:07d}", range(24300, 24320), PAIRS, NP)},
        {}, NP, (10, 0), {}, ["column dx of HAM10000_metadata.csv", "column lesion_id"],
    ),
    "c01-PatientID": (by_part("path,label,PatientID", PAIRS, PAIRS), {}, NP, (5, 0), {"train": 10, "test": 10}, []),
    "c01-headings": (one("File Name,Class,Subject ID,Eye", NP, PAIRS, ["OD"]), {}, NP, (10, 0), {}, ["Subject ID of"]),
    "c02-float-ids": (
        by_part("path,label,patient_id", [*(f"{i}.0" for i in range(9)), ""], range(10)),
        {}, NP, (10, 1), {"train": 10, "test": 10}, ["9 group ids are spelt in more than one way", "0 and 0.0"],
    ),
    "c02-zeros": (by_part("path,label,mrn", ["007", "010"], ["7", "10"]), {}, NP, (2, 0), {}, ["007 and 7"]),
    "c03-case": (
        by_part("path,label,patient", ["Pat 1", "pat  2"], ["PAT 1 ", "Pat 2"]), {}, NP, (2, 0),
        {}, ["PAT 1 and"],
    ),
    "c04-unknown": (
        one("path,label,patient,split", NP, ["p1", "p2", "unknown", "N/A", "?"], ["train", "test"]),
        {}, NP, (2, 12), {"train": 10, "test": 10}, ["12 images have '?', 'N/A', 'unknown' for a", "unknown of 12"],
    ),
    "c04-zero-for-all": (
        one("path,label,patient", NP, ["0"]), {}, NP, (0, 20),
        {}, ["20 images have '0'", "no column or file"],
    ),
    "c04-a-word-of-ones-own": (
        one("path,label,patient", NP, ["xx", "xx", "p1", "xx", "p2"]),
        {}, NP, (3, 0), {}, ["group 'xx' has 12 of 20 images"],
    ),
    "c04-patients-elsewhere": (
        PLAIN | {"patients.csv": table("id,patient", "{}", range(8), PAIRS)},
        {}, NP, (0, 16), {}, ["column patient of patients.csv may tell it, but the labels are not in that file"],
    ),
    "e06-a-text-file": (
        PLAIN | {"patients.txt": "key\tpatient\n1\t2\n"},
        {}, NP, (0, 16), {}, ["patients.txt was not read: no column for", "column patient of patients.txt may tell it"],
    ),
    "c05-nested": (one("path,label,visit,patient", NP, range(20), PAIRS), {}, NP, (10, 0), {}, ["column patient of"]),
    "c04-shortened-for-all": (
        one("path,label,patient", NP, ["1.23E+12"]), {}, NP, (1, 0), {},
        ["1 group ids (1.23E+12) were shortened by a spreadsheet", "export the column as text",
         "group '1.23E+12' has 20 of 20 images"],
    ),
    "c05-same-patients": (
        one("path,label,subject,patient", NP, PAIRS, [f"p{i}" for i in PAIRS]), {}, NP, (10, 0), {}, ["column patient"],
    ),
    "c05-patients-of-groups": (one("path,label,patient,case_id", NP, PAIRS, FOURS), {}, NP, (10, 0), {}, []),
    "c05-few-groups": (
        one("path,label,group", NP, ["control", "treated"], n=60), {}, NP, (0, 60), {},
        ["groups unknown: column group of labels.csv holds 2 values (control, treated) for 60 images",
         "if they are, set group_column: group"],
    ),
    "c05-few-visits": (
        by_part("path,label,Visit", [1, 2], [1]), {}, NP, (0, 20), {}, ["set group_column: Visit"],
    ),
    "c05-few-visits-asked": (
        by_part("path,label,Visit", [1, 2], [1]), {"group_column": "visit"}, NP, (2, 0), {}, ["column Visit of"],
    ),
    "c05-few-patients": (one("path,label,patient", NP, [1, 2, 3], n=60), {}, NP, (3, 0), {}, []),
    "c05-asked": (
        one("path,label,group,patient_id", NP, [1, 2], PAIRS), {"group_column": "Patient ID"}, NP, (10, 0),
        {}, [],
    ),
    "c06-partition": (
        one("path,label,partition", NP, ["train", "val", "test", "dev"]),
        {}, NP, (0, 20), {"train": 5, "val": 10, "test": 5}, ["column partition of"],
    ),
    "c06-is_valid": (one("path,label,is_valid", NP, ["False", "True"]), {}, NP, (0, 20), {"train": 10, "val": 10}, []),
    "c06-folds": (
        one("path,label,fold", NP, range(5)), {}, NP, (0, 20),
        {}, ["holds 0, 1, 2, 3, 4, not train", "not used: fold"],
    ),
    "c07-path-column": (
        images("img/{}.png", range(4)) | {"labels.csv": "image,path,label\n0,img/0.png,0\n1,img/1.png,1\n"},
        {}, ("0", "1"), (0, 2), {},
        ["columns not used: image", "column path names the image", "2 of 4 images are in no list"],
    ),
    "c07-unicode-case-ending": (
        NFD | {"b.PNG": b"", "labels.csv": table("path,label", "lésion_{}.jpg", range(4), NP) + "b.png,pos\n"},
        {}, NP, (0, 5), {}, ["5 names were matched though ending, case, zeros or Unicode form differ"],
    ),
    "c07-zeros": (
        images("img/{:04}.png", range(20)) | {"labels.csv": table("id,label", "{}", range(20), NP)}, {}, NP, (0, 20),
        {}, ["20 names were matched though ending, case, zeros or Unicode form differ: 0 is img/0000.png"],
    ),
    "c07-zeros-in-the-list": (
        images("img/{}.png", range(20)) | {"labels.csv": table("path,label", "img/{:03}.png", range(20), NP)},
        {}, NP, (0, 20), {}, ["img/000.png is img/0.png"],
    ),
    "c07-zeros-after-a-dot": (
        images("img/{}.png", range(20)) | {"labels.csv": table("image,label", "{}.0", range(20), NP)},
        {}, NP, (0, 20), {}, ["0.0 is img/0.png"],
    ),
    "c07-one-image-in-two-ways": (
        images("img/{:02}.png", range(4))
        | {"labels.csv": "path,label\nimg/1.png,neg\n01,neg\nimg/02.png,pos\n02,pos\n3.png,neg\n"},
        {}, NP, (0, 3), {}, ["2 rows repeat an image with the same label"],
    ),
    "c07-suffix": (
        BOTH | {"labels.csv": table("id,label", "{}", range(4), NP)},
        {"suffix": ".png"}, NP, (0, 4), {}, ["4 of 8 images are in no list"],
    ),
    "c08-eyes": (
        EYES, {}, ("normal", "cataract"), (0, 20),
        {}, ["groups unknown: no column", "finds 10", "group_pattern: '"],
    ),
    "c08-eyes-asked": (
        EYES, {"group_pattern": r"(?P<group>\d+)_(?P<side>left|right)"},
        ("normal", "cataract"), (10, 0), {}, ["20 of 20 paths"],
    ),
    "d01-spellings": (
        one("path,label", ["COVID-19", "Normal", "COVID_19", "normal", "COVID-19", "Normal"]),
        {}, ("Normal", "COVID-19"), (0, 20), {}, ["COVID_19 and COVID-19 are taken for one class", "Normal first"],
    ),
    "d01-unicode-forms": (
        one(f"path,{MAC_FORM}", ["Läsion", MAC_FORM, "Normal"]), {"label_column": "läsion", "positive_class": "Läsion"},
        ("Normal", MAC_FORM), (0, 20), {}, [f"Läsion and {MAC_FORM} are taken for one class"],
    ),
    "d01-unicode-forms-of-folders": (
        dict.fromkeys([f"train/{MAC_FORM}/1.png", "test/Läsion/2.png", "train/b/3.png", "test/b/4.png"], b""),
        {"class_names": ["läsion", "b"]}, ("läsion", "b"), (0, 4), {"train": 2, "test": 2}, [],
    ),
    "d03-combination-asked": (
        one("path,label", ["a", "a|b"]), {"class_names": ["a", "a|b"]}, ("a", "a|b"), (0, 20),
        {}, [],
    ),
    "d04-eyeq": (
        {f"images/{10 + i // 2}_{('left', 'right')[i % 2]}.jpeg": b"" for i in range(20)}
        | {"Label_EyeQ_train.csv": ",image,label,DR_grade\n" + "".join(
            f"{i},{10 + i // 2}_{('left', 'right')[i % 2]}.jpeg,{i % 3},{i % 5}\n" for i in range(20))},
        {}, ("0", "1", "2"), (0, 20), {}, ["not used: 1 (no heading), DR_grade", "finds 10"],
    ),
    "d05-study-id": (
        images("img/{}.png", range(20)) | {"labels.csv": "image_id,path,label\n" + "".join(
            f"S{i // 2},img/{i}.png,{NP[i // 2 % 2]}\n" for i in range(20))},
        {}, NP, (0, 20), {}, ["20 images share their id"],
    ),
    "e01-predictions": (
        TREE | {"predictions.csv": table("filename,class", "train/benign/{}.png", range(8), ["malignant"])},
        {}, ("benign", "malignant"), (0, 16), {}, ["predictions.csv was not read: it holds predictions"],
    ),
    "e01-own-predictions": (
        TREE | {"new.csv": table("image,prediction,score", "train/benign/{}.png", range(8), [1], [0.5])},
        {}, ("benign", "malignant"), (0, 16), {}, ["new.csv was not read: it holds predictions"],
    ),
    "e02-the-list-alone": (
        TREE | one("path,label", ["benign", "malignant"], form="test/{}.png", name="test_labels.csv"),
        {"labels": "test_labels.csv"}, ("benign", "malignant"), (0, 20), {}, ["does not list 16 of the 36 images"],
    ),
    "e03-dev-holdout": (
        one("path,label", NP, form="img/a{}.png", name="train.csv")
        | one("path,label", NP, form="img/b{}.png", name="dev.csv")
        | one("path,label", NP, form="img/c{}.png", name="holdout.csv")
        | {"sample_submission.csv": "path,label\nimg/c1.png,neg\n"},
        {}, NP, (0, 60), {"train": 20, "val": 20, "test": 20}, ["sample_submission.csv was not read"],
    ),
    "e06-endings": (
        one("path,label", NP, form="scanner_A/{}.png", name="LABELS.CSV"), {}, NP, (0, 20),
        {}, ["LABELS.CSV"],
    ),
    "e06-txt-tabs": (
        images("a/{}.png", range(4)) | {"list.txt": table("path,label", "a/{}.png", range(4), NP).replace(",", "\t")},
        {}, NP, (0, 4), {}, [],
    ),
    "covidx": (
        images("train/{}.png", range(4))
        | {"train.txt": "patientid filename class source\n" + "".join(f"p{n} {n}.png {NP[n % 2]} a\n" for n in range(4))
        },
        {}, NP, (4, 0), {}, ["column class of train.txt; column filename names the image", "columns not used: source"],
    ),
    "e06-workbook-beside-folders": (
        TREE | {"ages.XLSX": b"PK\3\4"}, {}, ("benign", "malignant"), (0, 16),
        {}, ["save it as CSV"],
    ),
    "g04-metadata": (
        images("train/{}.png", range(4)) | images("test/{}.png", range(2))
        | {"train/metadata.csv": table("file_name,label", "{}.png", range(4), NP)}
        | {"test/metadata.jsonl": '{"file_name": "0.png", "label": "neg"}\n{"file_name": "1.png", "label": "pos"}\n'},
        {}, NP, (0, 6), {"train": 4, "test": 2}, ["by the names of train/metadata.csv, test/metadata.jsonl"],
    ),
    "aptos": (
        images("train_images/{:012x}.png", range(20)) | images("test_images/{:012x}.png", range(20, 24))
        | {"train.csv": table("id_code,diagnosis", "{:012x}", range(20), range(5))}
        | {"test.csv": table("id_code", "{:012x}", range(20, 24)), "sample_submission.csv": "id_code,diagnosis\n0,0\n"},
        {}, ("0", "1", "2", "3", "4"), (0, 24), {"train": 20, "unlabeled": 4}, ["column diagnosis of train.csv"],
    ),
    "isic": (
        {"train.csv": table("image_name,patient_id,target", "ISIC_{}", range(20), PAIRS, [0, 1])}
        | images("jpeg/ISIC_{}.jpg", range(20)),
        {}, ("0", "1"), (10, 0), {}, ["column target of train.csv"],
    ),
    "idrid": (
        IDRID | {"a. Training Labels.csv": GRADED, "b. Testing Labels.csv": GRADED},
        {"task": "grades"}, ("0", "1", "2", "3", "4"), (0, 20), {"train": 10, "test": 10},
        ["Risk of macular edema", "custom; as dataset says", "as task says"],
    ),
    "idrid-train-alone": (
        IDRID | {"b. Testing Labels.csv": GRADED}, {}, ("0", "1", "2", "3", "4"), (0, 10), {},
        ["10 of 20 images", "task is not set; their names may be those of grades: if they are, set task: grades"],
    ),
    "stray-npz": (TREE | {"features.npz": b"PK"}, {}, ("benign", "malignant"), (0, 16), {}, []),
    "positive-class": (
        images("healthy/{}.png", range(4)) | images("disease/{}.png", range(4)),
        {}, ("healthy", "disease"), (0, 8), {}, ["as its name says healthy; a guess: the positive class is disease"],
    ),
    "gone-class": (
        one("path,label", NP) | {"labels.csv": table("path,label", "img/{}.png", range(20), NP) + "Total,20\n"},
        {}, NP, (0, 20), {},
        ["no image here has label '20' (labels.csv, row 22), so it is no class", "left out: Total"],
    ),
    "positive-class-asked": (
        one("path,label", ["x", "y"]), {"positive_class": "x"}, ("y", "x"), (0, 20),
        {}, ["positive class is x"],
    ),
    "natural-order": (
        one("path,label", ["10 - x", "2 - y", "1 - none"]), {}, ("1 - none", "2 - y", "10 - x"), (0, 20),
        {}, [],
    ),
    "names-for-numbers": (one("path,label", [0, 1]), {"class_names": ["No", "Yes"]}, ("No", "Yes"), (0, 20), {}, []),
    "odd-names": (one("path,label", NP, form="i_m*g$/{}.png"), {}, NP, (0, 20), {}, []),
}  # fmt: skip


@pytest.mark.parametrize(("files", "asked", "classes", "groups", "splits", "words"), READ.values(), ids=READ)
def test_a_folder_is_read_as_meant_and_says_how(tmp_path, files, asked, classes, groups, splits, words):
    params = DataParams(**({"dataset": "custom"} | asked))
    data = read(params, write(tmp_path, files))
    told = data.table["group"]
    assert (data.facts.classes, (told.nunique(), told.isna().sum())) == (classes, groups), data.notes
    assert not splits or data.table["split"].value_counts().to_dict() == splits
    said = "\n".join([*data.notes, *data.reading.values()])
    assert [word for word in words if word not in said] == [], said
    assert (data.reading["groups"] == "none") == told.isna().all()
    assert list(data.reading) == list(READING) and all(data.reading.values())
    assert data.facts.score == ("qwk" if "task" in asked else "macro_f1")


REFUSED: dict[str, tuple[dict, dict, list[str]]] = {
    "a02-nih": (
        {f"images_{1 + i // 10:03d}/images/{i // 4:08d}_{i % 4:03d}.png": b"" for i in range(20)}
        | {"Data_Entry_2017.csv": "Image Index,Finding Labels,Patient ID\n" + "".join(
            f"{i // 4:08d}_{i % 4:03d}.png,{('No Finding', 'Effusion|Mass')[i % 2]},{i // 4}\n" for i in range(20))},
        {}, ["Data_Entry_2017.csv, row 3", "'Effusion|Mass' names several classes, as 10 rows do", "class_names"],
    ),
    "a04-odir": (
        ODIR | {"Annotations.xlsx": b"PK\3\4"}, {}, ["Annotations.xlsx was not read", "save it as CSV"],
    ),
    "covidx-without-headings": (
        images("train/{}.png", range(4)) | {"train.txt": "1 0.png negative cohen\n2 1.png positive cohen\n"}, {},
        ["train.txt, row 1: no column label and no column path, it holds 1, 0.png, negative, cohen", "path label, or"],
    ),
    "c05-two-groupings": (
        one("path,label,group,patient_id", NP, range(8), PAIRS), {}, ["patient_id and group", "group_column: "],
    ),
    "c05-two-patients": (
        one("path,label,patient,subject", NP, PAIRS, FOURS), {},
        ["columns patient and subject group the images differently", "set group_column: patient or subject"],
    ),
    "c05-two-patients-coarse-first": (
        one("path,label,patient,subject", NP, FOURS, PAIRS), {}, ["columns patient and subject group", "group_column"],
    ),
    "c05-lesions-of-cases": (
        one("path,label,lesion,case_id", NP, range(20), PAIRS), {}, ["columns lesion and case_id", "group_column"],
    ),
    "c07-twins": (
        BOTH | {"labels.csv": table("path,label", "{}", range(4), NP)},
        {}, ["img/0.jpg or img/0.png", "set suffix"],
    ),
    "c07-two-zeros": (
        images("{:04}.png", range(9)) | images("{:02}.png", range(9))
        | {"labels.csv": table("id,label", "{}", range(9), NP)},
        {}, ["labels.csv was not read: it may name no image; to read it, set labels: labels.csv"],
    ),
    "c07-elsewhere": (
        images("img/{}.png", range(9)) | {"labels.csv": table("path,label", "x{}.png", range(9), NP)},
        {}, ["none of the 9 listed images is there", "the first, in labels.csv, row 2, is"],
    ),
    "c07-two-labels": (
        images("img/{}.png", range(4)) | {"labels.csv": table("path,label", "img/1.png", range(2), ["mild", "severe"])},
        {}, ["'img/1.png' has different labels (labels.csv, row 2: mild; labels.csv, row 3: severe)"],
    ),
    "c07-one-image-two-labels": (
        images("img/{:02}.png", range(4)) | {"labels.csv": "path,label\nimg/01.png,mild\nimg/1.png,severe\n"},
        {}, ["has different labels (labels.csv, row 2: mild; labels.csv, row 3: severe)"],
    ),
    "c07-names-of-two-folders": (
        images("a/{}.png", range(4)) | images("b/{}.png", range(4))
        | {"labels.csv": table("image,label", "{}.png", [*range(4), *range(4)], NP)},
        {}, ["row 2: '0.png' is listed 2 times and may be a/0.png or b/0.png", "write the folder into the path"],
    ),
    "c08-no-such-pattern": (EYES, {"group_pattern": "(?P<group>P[0-9]+)"}, ["is in none of 20 paths"]),
    "d02-question-mark": (
        one("path,label", [*NP, "N/A", "None", "?"]),
        {}, ["row 6: label '?'", "leave it empty", "class_names"],
    ),
    "d02-minus-one": (one("path,label", [0, 1, -1]), {}, ["row 4: label '-1'", "leave it empty"]),
    "d03-joined": (one("path,label", ["Mass", "Effusion", "Mass; Effusion"]), {}, ["row 4", "names several classes"]),
    "e01-list-against-folders": (
        TREE | {"results.csv": table("filename,class", "train/benign/{}.png", range(8), ["benign", "malignant"])},
        {}, ["4 of 8 listed images lie in a folder of another class", "does not list 8", "labels: results.csv"],
    ),
    "e02-test-list": (
        TREE | one("path,label", ["benign", "malignant"], form="test/{}.png", name="test_labels.csv"),
        {}, ["test_labels.csv: it does not list 16 of the 36 images", "train/benign/0.png", "labels: ."],
    ),
    "two-lists": (
        one("path,label", NP, name="a.csv") | one("path,label", NP, name="b.tsv"),
        {}, ["a.csv, b.tsv", "labels: a.csv"],
    ),
    "chexpert": (
        images("train/patient{}/view1.jpg", range(4)) | {"train.csv": "Path,Sex,Edema\nX/train/patient1/v.jpg,F,1\n"},
        {}, ["no column label, it holds Path, Sex, Edema", "label_column"],
    ),
    "split-numbers": (
        one("path,label,split", NP, [0, 1, 2]), {},
        ["row 2: split '0' is not one of", "into column split, set split_column to another column, or rename it"],
    ),
    "split-names": (
        one("path,label,Usage", NP, ["Training", "PublicTest"]), {}, ["row 3: split 'PublicTest'", "into column Usage"],
    ),
    "no-such-split": (one("path,label", NP), {"split_column": "part"}, ["labels.csv: no column part, as split_column"]),
    "no-such-group": (one("path,label", NP), {"group_column": "mrn"}, ["no column mrn", "but path, label"]),
    "measurements": (
        one("path,label", [i * 0.173 for i in range(60)], n=200), {},
        ["row 2: 60 different labels in 200 rows, such as", "are no classes; write classes, or set label_column"],
    ),
    "a-label-each": (one("path,label", [f"x{i}" for i in range(60)], n=60), {}, ["60 different labels in 60 rows"]),
    "sep": (one("path,label", NP) | {"labels.csv": "sep=;\npath;label\nimg/1.png;neg\n"}, {}, ["'sep=;' is a remark"]),
    "no-such-list": (TREE, {"labels": "list.csv"}, ["list.csv: no such file", "labels names"]),
    "other-value": (one("path,label", [0, 1, 2]), {"class_names": ["No", "Yes"]}, ["row 4", "'2'", "0 (No), 1 (Yes)"]),
    "number-names-have-no-positions": (
        one("path,label", [0, 1, 2]), {"class_names": ["1", "2"]}, ["row 2", "'0' is not one of 1, 2"],
    ),
    "no-positive-class": (
        one("path,label", NP),
        {"positive_class": "sick"}, ["'sick' is not one of two classes: neg, pos"],
    ),
    "no-such-column": (
        one("path,label", NP),
        {"label_column": "dx"}, ["no column label", "path, label", "label_column"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "asked", "words"), REFUSED.values(), ids=REFUSED)
def test_what_can_be_read_in_two_ways_or_in_none_is_refused_with_what_decides(tmp_path, files, asked, words):
    with pytest.raises(DataError) as error:
        read(DataParams(**({"dataset": "custom"} | asked)), write(tmp_path, files))
    assert [word for word in words if word not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1.0", "1.5", "2.0", "2.5", "3.0"], ["1", "1.5", "2", "2.5", "3"]),
        (["0.0", "0.5", "1.0"], ["0", "0.5", "1"]),
        (["1.0", "2.0", "ungradable"], ["1.0", "2.0", "ungradable"]),
        (["01", "+2", "3.", "x"], ["01", "+2", "3.", "x"]),
        (["1", "1.0", "01", "2", "x"], ["01", "01", "01", "2", "x"]),
        (["10", "-2", "1.25", "1.5"], ["10", "-2", "1.25", "1.5"]),
    ],
)
@pytest.mark.parametrize("folders", [True, False])
def test_each_image_is_of_the_class_that_its_label_says(tmp_path, labels, classes, folders):
    tree = {f"{label}/{at}_{n}.png": b"" for at, label in enumerate(labels) for n in range(2)}
    rows = "".join(f"{path},{path.partition('/')[0]}\n" for path in tree)
    lists = {} if folders else {"labels.csv": f"path,label\n{rows}"}
    data = read(DataParams(dataset="custom"), write(tmp_path, tree | lists))
    pairs = zip(data.table["path"], data.table["label"], strict=True)
    said = {path.rpartition("/")[2][0]: data.facts.classes[number] for path, number in pairs}
    assert [said[str(at)] for at in range(len(labels))] == classes
    if not any("x" in label or "u" in label for label in labels):
        assert list(data.facts.classes) == sorted(classes, key=float)


def test_a_data_set_is_guessed_from_names_where_its_own_labels_confirm_it(tmp_path):
    def guessed(name: str, labels: Sequence[int]) -> str:
        folder = write(tmp_path / name, one("path,label", labels, form="img/{}_left.jpeg"))
        return read(DataParams(dataset="guess"), folder).facts.name

    assert (guessed("quality", [0, 1, 2]), guessed("grades", range(5))) == ("custom", "retinopathy")


@pytest.mark.parametrize(
    ("healthy", "ill"),
    [
        *[("ohne Befund", "Befund"), ("gesund", "krank"), ("survived", "died"), ("alive", "dead"), ("no", "yes")],
        *[("absent", "present"), ("benign", "aa"), ("0", "1"), ("0", "Tumor"), ("unauffällig", "Zyste")],
        *[("gesund", "nicht gesund"), ("kein Tumor", "Tumor")],
    ],
)
def test_of_two_classes_the_one_that_does_not_say_healthy_is_the_positive_one(tmp_path, healthy, ill):
    data = read(DataParams(dataset="custom"), write(tmp_path, one("path,label", [ill, healthy])))
    assert data.facts.classes == (healthy, ill)


@pytest.mark.parametrize("asked", [{}, {"positive_class": "hem"}, {"class_names": ["ALL", "HEM"]}])
def test_a_number_stands_for_the_catalogs_class_in_whichever_order_the_classes_are_asked_for(tmp_path, asked):
    data = read(DataParams(dataset="leukemia", **asked), write(tmp_path, one("path,label", [0, 1, "hem", "normal"])))
    assert data.facts.classes == (("ALL", "HEM") if asked else ("HEM", "ALL"))
    assert [data.facts.classes[number] for number in data.table["label"][:2]] == ["HEM", "ALL"]


def test_an_array_file_and_images_are_two_readings(tmp_path):
    save_arrays(write(tmp_path, EYES) / "retinamnist.npz")
    with pytest.raises(DataError, match=r"retinamnist\.npz and 20 image files.*labels: \."):
        read(DataParams(dataset="retinamnist"), tmp_path)
    data = read(DataParams(dataset="custom", labels="."), Path(tmp_path))
    assert len(data.table) == 20
