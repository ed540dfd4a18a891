"""The typed parameters of a run and of each notebook: Papermill accepts misspelt names and wrong types, we do not."""

import ast
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

PROJECT = Path(__file__).resolve().parents[1]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # run names are folder names
STUDY = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"  # studies may lie in folders of params/
SUFFIX = r"^\.[^/]+$"
PATTERNS: dict[str, str] = dict.fromkeys((NAME, STUDY), "letters, digits, dots, dashes and underscores")
PATTERNS[SUFFIX] = "which begins with a dot"

Arch = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "tf_efficientnet_lite0"]


class OneLine(Exception):
    """An error whose line says all: a notebook shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"{type(self).__name__}: {self}"]


class ParameterError(OneLine, ValueError):
    """Invalid parameter value: the message names the field, the value and what is allowed."""


def as_typed(place: str) -> Path:
    """A path relative to the current folder if it exists there, else relative to the project."""
    typed = Path(place).expanduser()
    here = Path(os.path.abspath(typed))  # noqa: PTH100 -- a link keeps its own name
    return here if here.exists() or not (PROJECT / typed).exists() else PROJECT / typed


def refuse_url(place: str, what: str) -> str:
    """The place itself; ParameterError if it is a URL: every process of a run opens plain files by their path."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place.strip()):
        cure = "a shared one if several machines use it: mount it or copy it, and give its path"
        raise ParameterError(f"{what}: got {place!r}, which is a URL; {what} must lie in a folder, {cure}")
    return place


class Parameters(BaseModel):
    """Base of every notebook's parameters: unknown names and wrong types are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read_as_meant(cls, value: Any, info) -> Any:
        """Papermill passes lists as strings, YAML reads ``None`` as a string, and Python takes True for 1."""
        annotation = cls.model_fields[info.field_name].annotation
        if isinstance(value, str):
            text = value.strip()
            if text.lower() in {"none", "null"} and type(None) in get_args(annotation):
                return None
            if text.startswith("["):
                try:
                    return ast.literal_eval(text)
                except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two: of a thousand brackets
                    return value
        switches = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, bool)]
        if switches and bool not in (annotation, *get_args(annotation)):
            raise ValueError("True and False are not numbers, and names such as yes and no need quotes")
        return value

    @classmethod
    def of(cls, values: dict[str, Any], where: str = "") -> Self:
        """Validated parameters from a plain dict; raises ParameterError with one line per mistake."""
        try:
            return cls(**values)
        except ValidationError as error:
            lines = "\n".join(dict.fromkeys(_explain(cls, mistake) for mistake in error.errors()))
            raise ParameterError(f"{where}: {lines}" if where else lines) from None

    @classmethod
    def from_cells(cls, cells: Sequence[str], variables: Mapping[str, Any] | None = None) -> Self:
        """As set in a notebook's executed cells (``In``), or in ``variables`` where, as in nbval, no cells are kept."""
        if variables is not None and not any(cells):
            return cls.of({name: variables[name] for name in cls.model_fields if name in variables})
        return cls.of(assigned_literals(cells, set(cls.model_fields)), "notebook parameters")

    def _repr_html_(self) -> str:
        """What differs from the defaults as a table, and the rest as one that is folded."""
        from html import escape

        rows: dict[bool, list[str]] = {True: [], False: []}
        for name, field in type(self).model_fields.items():
            value, said = str(getattr(self, name)).replace(f"{PROJECT}/", ""), escape(field.description or "")
            cells = f"<th scope='row'>{name}</th><td style='overflow-wrap:anywhere'>{escape(value)}</td><td>{said}</td>"
            rows[getattr(self, name) != field.default].append(f"<tr>{cells}</tr>")
        shown, rest = (f"<table class='parameters'><tbody>{''.join(of)}</tbody></table>" for of in rows.values())
        return f"{shown}<details><summary>{len(rows[False])} parameters as by default</summary>{rest}</details>"


class DataParams(Parameters):
    """Which data is read, and how. Of a column's name case, spaces, ``_`` and ``-`` do not matter."""

    dataset: str = Field("retinopathy", description="a data set of the catalog, or custom")
    data: str = Field("demo", description="folder of the images, or a built-in set of synthetic images")
    labels: str | None = Field(None, min_length=1, description="label file, relative to the data folder")
    path_column: str | None = Field(None, min_length=1, description="column of the label file that names the image")
    label_column: str | None = Field(None, min_length=1, description="column that holds the label")
    group_column: str | None = Field(None, min_length=1, description="column that holds the patient or subject")
    split_column: str | None = Field(None, min_length=1, description="column that holds the data's own split")
    group_pattern: str | None = Field(
        None, min_length=1, description="regular expression for an image's path: patient (?P<group>…), side (?P<side>…)"
    )
    suffix: str | None = Field(None, pattern=SUFFIX, description="ending put behind the listed names, such as .png")
    class_names: list[str] | None = Field(None, description="the classes in their order; another label is refused")
    positive_class: str | None = Field(None, min_length=1, description="of two classes the one that is screened for")
    task: Literal["grades", "classes"] | None = Field(None, description="grades: ordered; None: as the catalog says")
    follow_links: bool = Field(False, description="links may lead out of the data folder")

    @property
    def reading(self) -> dict[str, Any]:
        """Those of the parameters above that were set, but for the data set and its place."""
        found = {name: getattr(self, name) for name in DataParams.model_fields if name not in ("dataset", "data")}
        return {name: value for name, value in found.items() if value not in (None, False)}

    @property
    def of_data(self) -> "DataParams":
        """These parameters alone."""
        return DataParams.of(self.model_dump(include=set(DataParams.model_fields)))

    @field_validator("data", "labels", "weights", check_fields=False)
    @classmethod
    def _no_url(cls, value: Any, info) -> Any:
        return value if value is None else refuse_url(value, info.field_name)

    @field_validator("group_pattern")
    @classmethod
    def _has_group(cls, value: Any) -> Any:
        try:
            if value is not None and not {"group"} <= re.compile(value, re.I).groupindex.keys() <= {"group", "side"}:
                raise ValueError("it must have a part (?P<group>…), and no other named part but (?P<side>…)")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value

    @field_validator("class_names")
    @classmethod
    def _are_classes(cls, value: Any) -> Any:
        plain = {" ".join(name.split()).lower() for name in value or []} - {""}
        if value is not None and not 2 <= len(plain) == len(value):
            raise ValueError("two or more different names")
        return value

    @model_validator(mode="after")
    def _one_order(self) -> Self:
        if self.class_names and self.positive_class and self.class_names[1:] != [self.positive_class]:
            said = "the last of two class_names is the positive one; set one of the two parameters"
            raise ValueError(f"positive_class: got {self.positive_class!r}, but {said}")
        return self


class ExploreParams(DataParams):
    """What explore.ipynb looks at: the parameters that concern the data."""

    study: str = Field("adhoc", pattern=STUDY, description="study it belongs to; a folder under reports/")
    split: Literal["group", "image", "given"] = Field("group", description="by patient, by image, or the data's own")
    split_seed: int = Field(0, ge=0, le=2**31 - 1, description="of the split: runs of several seeds share test images")
    val_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of the images used for validation")
    test_fraction: float = Field(0.2, gt=0, lt=0.8, description="share used for test, unless split: given")
    train_on: Literal["train", "train+val"] = Field("train", description="train+val: no validation images are left")
    select_on: Literal["val", "test", "last"] = Field("val", description="what chooses the epoch; last: it is the last")
    image_size: int = Field(64, ge=16, le=2048, description="pixels per side, after resize and centre crop")
    crop_size: int | None = Field(None, ge=16, le=2048, description="random crop in training, centre crop otherwise")
    horizontal_flip: bool = Field(True, description="mirror at random in training")
    vertical_flip: bool = Field(True, description="mirror top to bottom at random in training")
    rotation: float | list[float] = Field(0.0, description="in training: degrees at most either way, or [from, to]")
    augment_test: bool = Field(False, description="augment val and test, too: two reports' mistake, to be repeated")

    @property
    def split_rule(self) -> dict[str, Any]:
        """How the images are split: keywords of `data.splits.assign_splits`."""
        names = {"split", "split_seed", "val_fraction", "test_fraction", "select_on", "train_on"}
        return self.model_dump(include=names)

    @field_validator("rotation")
    @classmethod
    def _rotation_range(cls, value: Any) -> Any:
        if isinstance(value, list):
            if len(value) != 2 or not -360 <= value[0] <= value[1] <= 360:
                raise ValueError("a range of degrees is [from, to] between -360 and 360")
        elif not 0 <= value <= 180:
            raise ValueError("degrees either way are between 0 and 180")
        return value

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.crop_size is not None and self.crop_size > self.image_size:
            raise ValueError(f"crop_size: got {self.crop_size}, allowed: at most image_size ({self.image_size})")
        if self.val_fraction + self.test_fraction >= 0.9:
            raise ValueError("val_fraction + test_fraction: they must leave at least a tenth for training")
        return self


class RunParams(ExploreParams):
    """Everything that decides the result of one run. Field descriptions are the documentation."""

    run: str | None = Field(None, pattern=NAME, description="name of the run; None: architecture and fingerprint")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of weights, order of images and augmentation")

    sampling: Literal["none", "oversample"] = Field("none", description="oversample: repeat images of smaller classes")
    normalize: Literal["imagenet", "half", "unit", "twice"] = Field(
        "imagenet", description="imagenet: its mean and deviation; half: to [-1, 1]; unit: to [0, 1]; twice: by 255²"
    )

    arch: Arch = Field("resnet18", description="network: a ResNet, or EfficientNet-Lite0 through timm")
    deviation: Literal["none", "flat_head", "linear_bottleneck", "no_shortcut", "small_stem"] = Field(
        "none", description="a change from the network of He et al.: see labkit.models.resnet.DEVIATIONS"
    )
    weights: str | None = Field(None, description="None: random; IMAGENET1K_V1, IMAGENET1K_V2, a file, or run:<name>")
    parent: str | None = Field(None, description="fingerprint of the run that weights come from (set by the study)")
    head: Literal["new", "keep"] = Field("new", description="classifier of loaded weights: a new one, or keep theirs")
    freeze_epochs: int = Field(0, ge=0, le=10_000, description="train only the head in the first epochs")
    select_by: Literal["accuracy", "balanced_accuracy", "macro_f1", "qwk", "loss"] | None = Field(
        None, description="metric that chooses the epoch; None: qwk for grades, else macro_f1; ties: the lower loss"
    )

    epochs: int = Field(1, ge=1, le=10_000, description="passes over the training images")
    batch_size: int = Field(32, ge=2, le=8192, description="images per step")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="sgd uses momentum")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="learning rate at the start of the schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="weight decay of the optimizer")
    schedule: Literal["constant", "step", "cosine"] = Field("cosine", description="of the learning rate; cosine: to 0")
    step_size: int = Field(10, ge=1, le=10_000, description="schedule: step lowers the rate every so many epochs")
    gamma: float = Field(0.1, gt=0, le=1, description="schedule: step multiplies the rate by this factor")
    find_learning_rate: bool = Field(False, description="first try rates from 1e-7 to 10 on a copy of the network")
    loss: Literal["cross_entropy", "ordinal"] = Field(
        "cross_entropy", description="cross_entropy: an output per class; ordinal: one, the grade, with squared error"
    )
    class_weights: Literal["none", "balanced", "complement"] | list[float] = Field(
        "none", description="of the loss: balanced: N / (C n_c); complement: 1 - n_c / N, the first class 1; or a list"
    )

    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: CUDA, MPS or CPU; a run keeps it")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: bf16 on CUDA, else fp32")
    compile: bool = Field(False, description="torch.compile: takes minutes at the start; needs a C compiler")
    num_processes: int = Field(1, ge=1, le=64, description="that share each batch, with one GPU each or a CPU's cores")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads per process; 0: all cores, shared by them")
    num_workers: int = Field(0, ge=0, le=256, description="data loading processes; results do not depend on them")

    @field_validator("class_weights")
    @classmethod
    def _positive_weights(cls, value: Any) -> Any:
        if isinstance(value, list) and not (value and all(0 < weight < float("inf") for weight in value)):
            raise ValueError("class weights are positive numbers, one per class")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problem, pairs = "", f"half of batch_size ({self.batch_size}), because BatchNorm needs two images per process"
        if self.train_on == "train+val" and self.select_on == "val":
            problem = "select_on: got 'val', but train_on: train+val leaves no validation images; set it to last"
        elif self.deviation == "linear_bottleneck" and self.arch in ("resnet18", "resnet34"):
            problem = f"deviation: got 'linear_bottleneck', but {self.arch} has no bottlenecks; use resnet50"
        elif self.deviation != "none" and not self.arch.startswith("resnet"):
            problem = f"deviation: got {self.deviation!r}, but {self.arch} is no residual network of labkit"
        elif self.freeze_epochs > self.epochs:
            problem = f"freeze_epochs: got {self.freeze_epochs}, allowed: at most epochs ({self.epochs})"
        elif self.freeze_epochs and self.weights is None:
            problem = "freeze_epochs: a frozen backbone needs weights; set weights, or freeze_epochs to 0"
        elif self.batch_size < 2 * self.num_processes:
            problem = f"num_processes: got {self.num_processes}, allowed: at most {pairs}"
        if problem:
            raise ValueError(problem)
        return self

    @property
    def input_size(self) -> int:
        """Pixels per side of the network's input."""
        return self.crop_size or self.image_size

    def chosen_by(self, score: str) -> str:
        """The column of history.csv that chooses the epoch; ``last_…`` is none. `score`: the data set's own metric."""
        return f"{self.select_on}_{self.select_by or score}"

    def outputs(self, n_classes: int) -> int:
        """Number of outputs of the network: one logit per class, or only the grade."""
        return 1 if self.loss == "ordinal" else n_classes


class AnalysisParams(Parameters):
    """Which study analysis.ipynb compares, or which predictions that were made elsewhere."""

    study: str | None = Field(None, pattern=STUDY, description="study whose runs are compared; None: the last one run")
    runs: list[str] | None = Field(None, description="runs with the same test images; None: all of the study")
    predictions: list[str] | None = Field(
        None, min_length=1, description="in place of a study: tables of predictions, one CSV or Parquet file per model"
    )
    labels: str | None = Field(None, description="a table of image_id and label, where the predictions have none")
    images: str | None = Field(None, description="folder of the predicted images; None: mistakes without pictures")
    class_names: list[str] | None = Field(None, description="the classes of the predictions in their order")
    task: Literal["grades", "classes"] | None = Field(None, description="grades: ordered, scored by kappa; or classes")
    common: bool = Field(False, description="compare on the images that all tables of predictions have")
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="share of positives for PPV, NPV and net benefit; None: that of the test images"
    )
    cost_matrix: list[list[float]] | None = Field(
        None, description="cost of each error, rows true, columns predicted: [[0, 1], [5, 0]]; None: no costs are shown"
    )

    @field_validator("cost_matrix")
    @classmethod
    def _square(cls, value: Any) -> Any:
        if value is not None and not all(len(row) == len(value) > 1 for row in value):
            raise ValueError("as many rows as columns, one for each class")
        if value is not None and not all(0 <= cost < float("inf") for row in value for cost in row):
            raise ValueError("costs are numbers from 0 on")
        return value

    @model_validator(mode="after")
    def _of_predictions(self) -> Self:
        of_all = ("study", "runs", "prevalence", "cost_matrix")
        of_tables = [name for name in type(self).model_fields if name not in of_all and getattr(self, name)]
        if of_tables and not self.predictions:
            raise ValueError(f"{of_tables[0]}: belongs to predictions, which are not given")
        if self.study and self.predictions:
            raise ValueError("study and predictions: give one of them")
        return self


class PredictParams(Parameters):
    """Which run and images predict.ipynb uses."""

    study: str | None = Field(None, pattern=STUDY, description="study of the run; None: the last one run")
    run: str | None = Field(None, description="run folder's name or path; None: the study's best on validation")
    images: str | None = Field(None, description="an image or a folder of images; None: some of the run's own data")
    csv: str | None = Field(None, description="a .csv file to write the predictions to; None: only show them")


def assigned_literals(cells: Sequence[str], fields: set[str]) -> dict[str, Any]:
    """The names and literal values that the parameter cells set, in the order they were executed.

    Cells that begin with ``# Parameters`` are the notebook's own, which resets all if run again, and Papermill's; every
    name in them must be a parameter. Later cells may override them, if they hold only literals.
    """
    values: dict[str, Any] = {}
    started = ""  # first line of the notebook's own parameters cell; one with another comment adds to it
    for source in cells:
        marked, first = source.startswith("# Parameters"), source.partition("\n")[0]
        injected = source.startswith("# Parameters\n")  # Papermill's comment, to the letter
        if marked and not injected and started in ("", first):
            values, started = {}, first
        for name, value in _literals(source, strict=marked).items() if marked or started else ():
            if marked or name in fields:
                values[name] = value
            elif close := difflib.get_close_matches(name, fields, 1, cutoff=0.85):  # `epoch = 9` for `epochs`
                meant = f"did you mean {close[0]}? (rename it if not)"
                raise ParameterError(f"{name}: there is no such parameter; {meant}")
    if not started:
        raise ParameterError(
            "no parameters cell was run: first run the notebook's cell that begins with `# Parameters`"
        )
    return values


def _literals(source: str, strict: bool) -> dict[str, Any]:
    """Assignments ``name = literal`` of a cell; {} (or an error, if strict) if it holds anything else."""
    values: dict[str, Any] = {}
    try:
        for node in ast.parse(source).body:
            match node:
                case ast.Assign([ast.Name(name)], ast.Call(ast.Name("float"), [ast.Constant(str(text))])):
                    values[name] = float(text)  # as Papermill writes nan and inf
                case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, ast.expr() as value):
                    values[name] = ast.literal_eval(value)
                case _:
                    raise ValueError(ast.unparse(node))
    except (SyntaxError, ValueError) as error:
        if strict:
            raise ParameterError(f"a parameters cell may only hold `name = literal` lines, not: {error}") from None
        return {}
    return values


def _explain(cls: type[Parameters], mistake) -> str:
    """One line per pydantic mistake: field, value, what is allowed."""
    name, got = str(mistake["loc"][0]) if mistake["loc"] else "", repr(mistake["input"])
    got = got[:200] + "…" * (len(got) > 200)
    if mistake["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, cls.model_fields, 1)
        hint = f"did you mean {close[0]}?" if close else "allowed: " + ", ".join(cls.model_fields)
        return f"{name}: got {got}, but there is no such parameter; {hint}"
    reason = mistake["msg"].removeprefix("Value error, ") if mistake["type"] == "value_error" else ""
    if not name or reason.startswith(f"{name}: got "):
        return reason or mistake["msg"]
    return f"{name}: got {got}, {reason + '; ' if reason else ''}allowed: {allowed(cls, name)}"


def allowed(cls: type[Parameters], name: str) -> str:
    """What a field accepts, in words: ``one of resnet18, …`` or ``a whole number, at least 1, at most 10000``."""
    field = cls.model_fields[name]
    words = [_type_in_words(field.annotation)]
    bounds = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    for constraint in field.metadata:
        words += [f"{text} {getattr(constraint, key):g}" for key, text in bounds.items() if hasattr(constraint, key)]
        words += [PATTERNS[constraint.pattern]] if hasattr(constraint, "pattern") else []
    return ", ".join(words)


def _type_in_words(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(annotation)))
    names = {int: "a whole number", float: "a number", str: "text", bool: "True or False", type(None): "None"}
    names |= {list[str]: "a list of names", list[float]: "a list of numbers", dict[str, str]: "names by name"}
    names |= {list[list[float]]: "a list of rows of numbers"}
    return names.get(annotation) or " or ".join(map(_type_in_words, get_args(annotation)))


def parent_of(weights: object) -> str | None:
    """The run's name in ``run:<name>`` or ``run:<name>-seed<k>``, None for other weights."""
    match = re.fullmatch(r"run:(.+?)(-seed\d+)?", str(weights))
    return match[1] if match else None
