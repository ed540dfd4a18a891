"""A study file, ``params/<study>.yaml``: defaults, and a table of runs that each override a few of them.

Optional keys: ``honest``, the runs to repeat with a split by patient (a list of names, or a mapping to further
parameters); ``small``, what to change for two CPU cores and no download; ``published``, scores that others reported;
``external``, further sets of images that every finished run of the comparison is tested on, by name.
A run's ``label`` is its name in the report; it is no parameter, so it makes no run out of date.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from labkit.params import NAME, PATTERNS, PROJECT, STUDY, ParameterError, RunParams, parent_of
from labkit.runs.files import parse_yaml
from labkit.studies.external import External

SMALL = "-small"  # suffix of a study's small form
HONEST = "-honest"  # suffix of runs under the honest protocol
HONEST_PROTOCOL = {"split": "group", "select_on": "val", "train_on": "train", "augment_test": False}

OF_THE_STUDY = {"sources", "honest", "seeds", "without", "external"}  # keys of ``small`` that are no parameters

IN_SMALL = "This is the small form, with less training: numbers in the question are those of the full study."

Row = dict[str, Any]


class Published(BaseModel):
    """Scores that somebody else reported, by run; None if the report leaves a run out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str  # the report that has them
    data: str  # what they were measured on
    n: int = Field(gt=0)  # test images
    metric: str = "accuracy"
    majority: float | None = None  # score of the majority-class baseline there
    margin: float | None = Field(default=None, gt=0)  # a difference from ours that is too small to matter
    scores: dict[str, float | None]


class Study(BaseModel):
    """``sources`` only provide ``weights: run:<name>`` for the other runs; they are not part of the comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    question: str
    defaults: Row = Field(default_factory=dict)
    sources: dict[str, Row] = Field(default_factory=dict)
    runs: dict[str, Row] = Field(min_length=1)
    honest: Literal["all"] | list[str] | dict[str, Row] = Field(default_factory=list)
    seeds: list[int] = Field(default=[0], min_length=1)
    jobs: int = Field(default=1, ge=1)  # runs side by side, as far as there are cores for their threads
    small: dict[str, Any] = Field(default_factory=dict)
    published: list[Published] = Field(default_factory=list)  # one per metric
    external: dict[str, Row] = Field(default_factory=dict)  # name -> parameters of `External`

    @field_validator("published", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _names(self) -> Self:
        if both := set(self.sources) & set(self.runs):
            raise ValueError(f"{', '.join(sorted(both))} is both under sources and under runs")
        metrics = [one.metric for one in self.published]
        if twice := {name for name in metrics if metrics.count(name) > 1}:
            raise ValueError(f"published has {', '.join(sorted(twice))} twice; give one table of scores per metric")
        named = [("honest", self.honest_runs), *(("published", one.scores) for one in self.published)]
        for key, names in named:
            if unknown := [name for name in names if name not in self.runs]:
                raise ValueError(f"{key} names {', '.join(unknown)}, which is no run; runs are {', '.join(self.runs)}")
        if unknown := set(self.small) - OF_THE_STUDY - set(RunParams.model_fields):
            raise ValueError(f"small names {', '.join(sorted(unknown))}, which is no parameter")
        for name, row in self.external.items():
            if not re.fullmatch(NAME, name):
                raise ValueError(f"external: got {name!r}; a set's name has only {PATTERNS[NAME]}")
            if "data" not in row:
                raise ValueError(f"external {name}: data is missing: the folder of its images")
            External.of(row, f"external {name}")
        called: dict[str, str] = {}
        for name, label in self.labels.items():
            if not isinstance(label, str) or not label.strip() or len(label.splitlines()) > 1:
                raise ValueError(f"run {name}: label: got {label!r}; write one line of text, in quotes")
            if called.setdefault(label, name) != name:
                raise ValueError(f"runs {called[label]} and {name} are both called {label!r}; give each its own label")
        return self

    @property
    def labels(self) -> dict[str, str]:
        """What the report calls each run: the ``label`` of its row, else its name."""
        return {name: keys.get("label", name) for name, keys in self.runs.items()}

    @property
    def honest_runs(self) -> dict[str, Row]:
        """The runs to repeat under the honest protocol, each with further parameters."""
        if isinstance(self.honest, dict):
            return self.honest
        return {name: {} for name in (self.runs if self.honest == "all" else self.honest)}

    def table(self) -> dict[str, Row]:
        """Every run's parameters as in the file: sources, runs, and the honest repetitions."""
        runs = {name: {key: keys[key] for key in keys if key != "label"} for name, keys in self.runs.items()}
        table = {name: self.defaults | keys for name, keys in (self.sources | runs).items()}
        for name, keys in self.honest_runs.items():
            row = table[name] | HONEST_PROTOCOL | keys
            if (parent := parent_of(row.get("weights"))) in self.runs:
                row["weights"] = f"run:{parent}{HONEST}"  # its parent must not have seen its test images
            table[name + HONEST] = row
        return table

    def run_params(self, overrides: Mapping[str, Any] | None = None) -> list[RunParams]:
        """Every run, parents before children; ``overrides`` replaces parameters of all runs but the sources.

        A run with ``data`` of its own keeps it, and an honest run keeps its protocol. Sources are trained with the
        first seed only; other parents with every seed, like their children.
        """
        table = self.table()
        for name in table.keys() - self.sources.keys():
            own = {"data"} & self.runs.get(name.removesuffix(HONEST), {}).keys()
            if name not in self.runs:
                own |= HONEST_PROTOCOL.keys()
            table[name] |= {key: value for key, value in (overrides or {}).items() if key not in own}
        runs = []
        for name in _parents_first(table, self.file):
            seeds = self.seeds[:1] if name in self.sources else self.seeds
            for seed in [table[name]["seed"]] if "seed" in table[name] else seeds:
                values = table[name] | {"study": self.name, "run": name, "seed": seed}
                if parent := parent_of(values.get("weights")):
                    own = table[parent].get("seed", self.seeds[0] if parent in self.sources else seed)
                    values["weights"] = f"run:{parent}-seed{own}"
                runs.append(RunParams.of(self._placed(values), f"{self.file}, run {name}"))
        return runs

    def external_sets(self) -> dict[str, External]:
        """The external test sets by name; no override changes them."""
        return {name: External.of(self._placed(row), f"external {name}") for name, row in self.external.items()}

    def _placed(self, values: Row) -> Row:
        """With absolute places where the study file is not in params/: they are beside it."""
        if (file := study_file(self.name)).is_relative_to(PROJECT / "params"):
            return values
        places = {key: file.parent / str(values[key]) for key in ("data", "weights") if values.get(key)}
        return values | {key: str(place.resolve()) for key, place in places.items() if place.exists()}

    def test_sets(self, overrides: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
        """The runs that share test images by their split, each set in the table's order and named after its first."""
        rules: dict[str, str] = {}
        for run in self.run_params(overrides):
            dealt = ("split_seed", "val_fraction", "test_fraction") if run.split != "given" else ()
            rules[str(run.run)] = run.model_dump_json(include={"split", *dealt})
        sets = {rules[name]: [other for other in self.runs if rules[other] == rules[name]] for name in self.runs}
        return {names[0]: names for names in sets.values()}

    @property
    def file(self) -> str:
        """The file as messages name it."""
        return _shown(study_file(self.name))

    def shrunk(self) -> "Study":
        """The small form, as a study: the parameters under ``small`` are changed in every run.

        A value replaces the run's own; a mapping ``{old: new}`` replaces these values only. ``{arch}`` in weights
        stands for the run's network. Raises ParameterError if the study has no small form.
        """
        if not self.small:
            raise ParameterError(f"{self.file} has no `small`; run the study as it is")
        changes = {key: value for key, value in self.small.items() if key not in OF_THE_STUDY}
        own = {key: value for key, value in self.small.items() if key in {"honest", "seeds", "external"}}
        kept = self.runs.keys() - set(self.small.get("without", []))
        runs = {name: _changed(self.defaults | keys, changes) for name, keys in self.runs.items() if name in kept}
        data = changes.get("data", self.defaults.get("data"))
        for row in runs.values():  # shared data stays a default, so that --data can replace it
            if row.get("data") == data:
                row.pop("data", None)
        scores = [{name: score for name, score in one.scores.items() if name in runs} for one in self.published]
        return Study(
            **self.model_dump(include={"seeds", "honest", "external"}) | own,
            question=f"{self.question.strip()} {IN_SMALL}",
            name=self.name + SMALL,
            title=f"{self.title}, in small",
            defaults={} if data is None else {"data": data},
            sources=self.sources | self.small.get("sources", {}),
            runs=runs,
            published=[one.model_copy(update={"scores": of}) for one, of in zip(self.published, scores, strict=True)],
        )


def _changed(row: Row, changes: Mapping[str, Any]) -> Row:
    row = dict(row)
    for key, new in changes.items():
        now = row.get(key, RunParams.model_fields[key].default)
        if isinstance(new, dict):
            new = new.get(now, now)
        row[key] = new.format(arch=row.get("arch", "resnet18")) if key == "weights" and new else new
    return row


def study_file(name: str) -> Path:
    """``params/<name>.yaml``, or the file that `name_of` was given; a small form may be in the file of its study."""
    own = Path(os.environ.get("LABKIT_STUDY", ""))
    if own.stem and name in (own.stem, own.stem + SMALL):
        return own
    path = PROJECT / "params" / f"{name}.yaml"
    if not path.is_file() and name.endswith(SMALL):
        return path.with_name(path.name.replace(f"{SMALL}.yaml", ".yaml"))
    return path


def name_of(study: str) -> str:
    """A study's name, which may be given by the path of its file.

    A file outside of params/ is noted in LABKIT_STUDY, for this process and its kernels; its reports go to ``reports/``
    beside it, unless LABKIT_REPORTS is set. Raises ParameterError if there is no such file.
    """
    if not study.endswith((".yaml", ".yml")):
        return study
    path = Path(study).expanduser().absolute()
    if not path.is_relative_to(PROJECT / "params"):
        if not path.is_file():
            raise ParameterError(f"study: got {study!r}, but there is no such file")
        os.environ["LABKIT_STUDY"] = str(path)
        os.environ["LABKIT_REPORTS"] = os.environ.get("LABKIT_REPORTS") or str(path.parent / "reports")
    return _named(path)


def _named(path: Path) -> str:
    inside = path.is_relative_to(PROJECT / "params")
    return path.relative_to(PROJECT / "params").with_suffix("").as_posix() if inside else path.stem


def _shown(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT / "params") else str(path)


def load_study(name: str) -> Study:
    """The study ``params/<name>.yaml``, or its small form; raises ParameterError with the file and the mistake."""
    if not re.fullmatch(STUDY, name):
        told = "a study is a file in params/, named without .yaml (demo, course/mine), or the path of a .yaml file"
        raise ParameterError(f"study: got {name!r}; {told} whose name has only {PATTERNS[STUDY]}")
    path = study_file(name)
    if not path.is_file():
        raise ParameterError(f"no study {name!r}: {path} does not exist; there are {', '.join(study_names())}")
    shown, own = _shown(path), _named(path)
    content = parse_yaml(path.read_bytes(), shown)
    if not isinstance(content, dict):
        raise ParameterError(f"{shown}: expected keys such as title, defaults and runs")
    if odd := [key for key in content if not isinstance(key, str) or key == "name"]:
        raise ParameterError(f"{shown}: {odd[0]!r} is no key of a study; a study is named after its file")
    try:
        study = Study(name=own, **content)
    except ValidationError as error:
        raise ParameterError(f"{shown}: " + "; ".join(map(_in_words, error.errors()))) from None
    except RecursionError:
        raise ParameterError(f"{shown}: an alias (*…) refers to the value that contains it") from None
    return study if own == name else study.shrunk()


def study_names() -> list[str]:
    """All studies of params/, without their small forms."""
    return sorted(map(_named, (PROJECT / "params").rglob("*.yaml")))


def value_of(text: str) -> Any:
    """A parameter's value from the shell, read as in a study file: 3, 1e-3, true, [1.2, 1.0], text."""
    return parse_yaml(text.encode("utf-8", "surrogateescape"), f"-p: got {text!r}", "; put text into quotes")


def _in_words(mistake: Any) -> str:
    where = ".".join(map(str, mistake["loc"]))
    if not where:
        return mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "extra_forbidden":
        known = Study.model_fields if len(mistake["loc"]) == 1 else Published.model_fields
        close = difflib.get_close_matches(str(mistake["loc"][-1]), known, 1)
        hint = f"did you mean {close[0]}?" if close else f"allowed: {', '.join(known)}"
        return f"{where}: there is no such key; {hint}"
    if mistake["type"] == "dict_type" and mistake["input"] is None:
        return f"{where}: empty; for a run of the defaults alone write {mistake['loc'][-1]}: {{}}"
    return f"{where}: {mistake['msg']}"


def _parents_first(table: dict[str, Row], file: str) -> list[str]:
    """Run names, each after the run that its weights come from; raises on a missing parent or a cycle."""
    order: list[str] = []
    for name in table:
        line = [name]  # of descent, children first
        while (parent := parent_of(table[line[-1]].get("weights"))) is not None:
            if parent not in table:
                lacks = f"the study has no run {parent!r}; it has {', '.join(table)}"
                raise ParameterError(f"{file}, run {line[-1]}: weights: run:{parent}, but {lacks}")
            if parent in line:
                raise ParameterError(f"{file}: weights go in a circle: {' → '.join((*line, parent))}")
            line.append(parent)
        order += reversed(line)
    return list(dict.fromkeys(order))
