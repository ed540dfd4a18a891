import errno
import io
import json
import multiprocessing
import os
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from labkit.cli import main
from labkit.data.catalog import facts
from labkit.params import PROJECT, ParameterError, RunParams
from labkit.runs import files as disk
from labkit.runs import fingerprint as fingerprints
from labkit.runs import folder as runs
from labkit.studies import find as lookup
from labkit.studies.file import Study

PARAMS = RunParams(study="s", run="a")
INPUTS = {"epochs": 1, "data": "d", "code": "c"}


def test_a_finished_run_is_replayed_and_not_changed():
    run = runs.open_run(PARAMS, INPUTS)
    run.finish()
    before = run.path("run.json").read_bytes()
    again = runs.open_run(PARAMS, INPUTS)
    assert again.finished
    again.finish(classes=[])
    assert again.path("run.json").read_bytes() == before


def test_seconds_are_summed_over_attempts():
    run = runs.open_run(PARAMS, INPUTS)
    run.started -= 100
    run.record(epoch_seconds=[1.0])  # and then it is killed
    run = runs.open_run(PARAMS, INPUTS)
    run.started -= 10
    run.finish()
    assert 110 <= run.manifest["seconds"] < 120


@pytest.mark.parametrize("linked", [False, True])
def test_other_inputs_set_a_run_aside_with_all_that_is_there_and_the_same_ones_take_it_back(tmp_path, linked):
    run = runs.open_run(PARAMS, INPUTS)
    if linked:  # the folder itself leads elsewhere
        run.folder.rename(tmp_path / "elsewhere")
        run.folder.symlink_to(tmp_path / "elsewhere")
    run.finish()
    (run.path("figures")).mkdir()
    (run.path("figures") / "mine.txt").write_text("mine")
    other = runs.open_run(PARAMS, INPUTS | {"epochs": 2})
    kept = run.folder.with_name(f"a-seed0@{run.fingerprint[:8]}")
    assert other.folder == run.folder and not other.finished and kept.is_symlink() == linked
    assert (kept / "figures" / "mine.txt").read_text() == "mine" and sorted(lookup.run_folders("s")["name"]) == [
        "a-seed0"
    ]
    assert list(lookup.run_folders("s", kept=True)["state"]) == ["running", "finished"]
    assert lookup.find_run("s", kept.name) == kept
    again = runs.open_run(PARAMS, INPUTS)
    assert again.finished and (again.path("figures") / "mine.txt").read_text() == "mine" and not kept.exists()
    assert (run.folder.parent / f"a-seed0@{other.fingerprint[:8]}" / "run.json").is_file()


def test_what_no_manifest_speaks_of_is_set_aside_too(tmp_path):
    folder = runs.run_folder(PARAMS, "")
    folder.parent.mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("mine")
    folder.symlink_to(tmp_path / "precious")
    assert runs.open_run(PARAMS, INPUTS).path("run.json").is_file()
    assert (folder.with_name("a-seed0@unknown") / "thesis.txt").is_file() and not folder.is_symlink()


def test_places_are_relative_to_the_caller_of_a_command_and_else_to_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABKIT_REPORTS", "rel")
    monkeypatch.setenv("LABKIT_CACHE", "s3://bucket")
    assert runs.reports_root() == PROJECT / "rel"  # of a notebook, whose kernel may start anywhere
    with pytest.raises(ParameterError, match="LABKIT_CACHE: got 's3://bucket', which is a URL"):
        runs.places_of_caller()
    assert runs.reports_root() == tmp_path / "rel"


def test_without_a_checkout_a_line_asks_for_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "PROJECT", tmp_path)
    assert main(["studies"]) == 2 and capsys.readouterr().err.count("\n") == 1
    monkeypatch.delenv("LABKIT_REPORTS")
    with pytest.raises(ParameterError, match=r"without its notebooks/ and params/.* pip install -e \."):
        runs.reports_root()


def test_clean_deletes_kept_runs_after_a_question_and_nothing_of_a_person(monkeypatch, capsys):
    for epochs in (1, 2, 3):
        run = runs.open_run(PARAMS, INPUTS | {"epochs": epochs})
        run.path("submission-a.csv").write_text("labkit's")
        run.finish(submissions=["submission-a.csv"])
        for name in THEIRS if epochs == 2 else ():
            run.path(name).write_text("mine")
    assert main(["runs", "s"]) == 0
    said = capsys.readouterr().out.replace("\xa0", " ")
    assert said.startswith("s: 3 runs, 2 of them kept\n") and said.count("kept, finished") == 2
    kept = [path for path in run.folder.parent.iterdir() if "@" in path.name]
    for arguments, answers, code, left in (
        (["s", "--dry-run"], "", 0, 2), ([], "n", 1, 2), ([], "", 1, 2), (["other"], "y", 0, 2), ([], "y", 0, 1)
    ):  # fmt: skip
        monkeypatch.setattr("sys.stdin", io.StringIO(answers))  # an empty one: nobody is there
        assert main(["clean", *arguments]) == code
        assert sum(path.is_dir() for path in kept) == left
    assert f"left there: {', '.join(THEIRS)}" in capsys.readouterr().out and run.path("run.json").is_file()
    (folder,) = [path for path in kept if path.is_dir()]
    assert sorted(path.name for path in folder.iterdir()) == THEIRS


THEIRS = [".mine.v2.tmp", "notes.md", "predictions-mine.csv", "submission-mine.csv"]


def test_clean_leaves_folders_that_labkit_did_not_rename(finished, monkeypatch, capsys):
    manifest = disk.read_json(finished / "run.json")
    of = manifest["fingerprint"][:8]
    for name in ("a-seed0@mine", f"a-seed0@{of}-mine", f"b-seed0@{of}", "x@y", "a-seed0@unknown"):
        shutil.copytree(finished, finished.with_name(name))
    disk.write_json(finished.with_name("x@y") / "run.json", {"fingerprint": "y"})
    (finished.with_name("a-seed0@unknown") / "run.json").unlink()
    (finished.with_name("a-seed0@unknown") / "run.json").mkdir()
    disk.write_json(finished.with_name(f"a-seed0@{of}") / "run.json", manifest | {"inputs": {}})  # not what it is of
    disk.write_text(finished.with_name("me@home.txt"), "mine")
    finished.with_name("a@link").symlink_to("nowhere")
    before = sorted(finished.parent.rglob("*"))
    monkeypatch.setattr("sys.stdin", io.StringIO("y"))
    assert main(["clean", "s"]) == 0
    assert "in all 0\xa0files" in capsys.readouterr().out and sorted(finished.parent.rglob("*")) == before


def test_a_study_that_has_kept_runs_alone_is_listed(finished, capsys):
    finished.rename(finished.with_name(f"a-seed0@{disk.read_json(finished / 'run.json')['fingerprint'][:8]}"))
    assert main(["runs"]) == 0 and main(["clean", "--dry-run"]) == 0
    said = capsys.readouterr().out.replace("\xa0", " ")
    assert said.startswith("s: 1 run, 1 of them kept\n") and "in all 0 files" not in said


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", "train.ipynb"], [".lock", ".run.json.7-8.tmp"]])
def test_a_kept_run_is_taken_back_after_a_call_that_was_killed_and_leaves_no_other_folder(finished, left):
    runs.open_run(RunParams(study="s", run="b"), INPUTS)  # this process has another folder locked then
    runs.make_way(finished, INPUTS | {"epochs": 2})
    assert not finished.exists() and len(runs.kept_runs(finished)) == 1
    for name in left:
        disk.write_text(finished / name, "")
    runs.make_way(finished, INPUTS)
    assert runs.is_of(finished, INPUTS) and not runs.kept_runs(finished)


def test_a_failure_is_not_written_over_a_run_of_other_inputs(finished):
    before = (finished / "run.json").read_bytes()
    runs.mark_failed(finished, PARAMS, INPUTS | {"code": "changed after the plan"}, "ValueError: in a plot")
    assert (finished / "run.json").read_bytes() == before


@pytest.fixture
def finished():
    run = runs.open_run(PARAMS, INPUTS)
    for name in runs.LEFT[1:]:
        disk.write_text(run.path(name), f"{name}: 1.25\n")
    run.finish(classes=["a", "b"], stamps=[], costs={10: 1, 9: 2})
    return run.folder


@pytest.mark.parametrize("name", [*runs.LEFT, "run.json"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_finished_run_is_believed_only_with_the_files_that_it_wrote(finished, name, how):
    assert runs.state(finished) == "finished" and runs.is_of(finished, INPUTS)
    path = finished / name
    whole, stat = path.read_bytes(), path.stat()
    if how == "changed":
        path.write_bytes(whole.replace(b'"a"', b'"c"') if name == "run.json" else b"\1" + whole[1:])
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif name == "run.json":
        return  # then there is no run
    else:
        path.unlink()
    said = f"damaged: {name} is {'missing' if how == 'missing' else 'not what the run wrote'}"
    assert runs.state(finished) == "damaged" and runs.why_run(finished, INPUTS) == said
    child = RunParams(study="s", run="b", weights="run:a")
    with pytest.raises(ParameterError, match=said):
        runs.resolve_weights(child)
    again = runs.open_run(PARAMS, INPUTS)  # it is made again, and what was there is kept
    assert not again.finished and not again.path("predictions.csv").exists()
    (kept,) = runs.kept_runs(finished)
    assert runs.state(kept) == "damaged" and runs.kept_run(finished, INPUTS) is None
    if how == "changed":
        (kept / name).write_bytes(whole)
        assert runs.state(kept) == "finished"


def test_the_files_of_a_finished_run_are_hashed_once_and_old_runs_are_believed(finished, monkeypatch):
    assert runs.damage(finished) == ""
    with monkeypatch.context() as unread:
        unread.setattr(disk.hashlib, "file_digest", None)
        assert runs.damage(finished) == ""
    again = runs.open_run(PARAMS, INPUTS)
    disk.write_text(again.path("metrics.json"), "{}")  # the notebook was executed once more
    again.finish()
    assert runs.damage(finished) == ""
    runs.mark_failed(finished, PARAMS, INPUTS, "ValueError: in a plot")
    assert runs.state(finished) == "finished"
    manifest = disk.read_json(finished / "run.json")
    del manifest["sha256"]
    disk.write_json(finished / "run.json", manifest)
    disk.write_text(finished / "history.csv", "other")
    assert runs.state(finished) == "finished"


def test_runs_by_hand_never_overwrite_one_another():
    folders = {runs.open_run(RunParams(), INPUTS | {"epochs": n}).folder for n in (1, 2)}
    assert len(folders) == 2 and all((folder / "run.json").is_file() for folder in folders)


def test_the_manifest_tells_why_a_run_is_repeated():
    run = runs.open_run(PARAMS, INPUTS)
    assert runs.why_run(run.folder / "elsewhere", INPUTS) == "not run yet"
    assert "first epoch" in str(runs.why_run(run.folder, INPUTS))
    run.record(epoch_seconds=[1.0, 1.0])
    assert "after 2 full epochs" in str(runs.why_run(run.folder, INPUTS))
    run.finish()
    assert runs.why_run(run.folder, INPUTS) == "finished, but its notebook was cut short"
    assert runs.why_run(run.folder, INPUTS | {"code": "new"}) == "changed since it was run: code"


@pytest.mark.parametrize(
    "change",
    [None, {"inputs": []}, {"sha256": []}, {"status": "done"}, {"seconds": "1"}, {"run": None}, {"error": 1}],
    ids=str,
)
def test_a_damaged_manifest_is_that_of_a_damaged_run_and_stops_no_other(finished, change, capsys):
    runs.open_run(PARAMS.model_copy(update={"seed": 1}), INPUTS | {"seed": 1}).finish()
    text = json.dumps(disk.read_json(finished / "run.json") | change) if change else ""
    (finished / "run.json").write_text(text)
    assert main(["runs", "s"]) == 0
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [["a-seed0", "damaged"], ["a-seed1", "finished"]]
    said = "damaged: run.json is not what the run wrote"
    assert runs.why_run(finished, INPUTS) == said and lookup.latest_study() == "s"
    for verb in ("verify", "predict"):  # one line
        assert main([verb, *(["a-seed0"] if verb == "verify" else ["--run", "a-seed0", str(PROJECT)])]) == 2
        assert re.fullmatch(rf"labkit: .*a-seed0: {said}; put back .*\n", capsys.readouterr().err)
    assert not runs.open_run(PARAMS, INPUTS).finished and len(runs.kept_runs(finished)) == 1  # made again, and kept


@pytest.mark.parametrize("stamps", [{"runs": []}, {"runs": {"a-seed0": 1}}, {"stale": "a"}, {"file": []}])
def test_a_damaged_report_json_is_named_in_one_line(finished, stamps, capsys):
    disk.write_json(finished.parents[1] / "report.json", stamps)
    assert main(["runs", "s"]) == 2
    assert re.fullmatch(r"labkit: .*report\.json: damaged \(.*\); remove it; .*\n", capsys.readouterr().err)


def test_a_dead_kernels_notebook_is_not_complete(tmp_path):
    def notebook(*counts, error=False):
        outputs = [{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}] if error else []
        cells = [
            {"cell_type": "code", "source": "1", "outputs": outputs, "execution_count": count, "metadata": {}}
            for count in counts
        ]
        path = tmp_path / "n.ipynb"
        path.write_text(json.dumps({"cells": cells}))
        return runs.notebook_complete(path)

    assert notebook(1, 2)
    assert not notebook(1, None)
    assert not notebook(1, 2, error=True)
    assert not notebook()
    assert not runs.notebook_complete(tmp_path / "none.ipynb")
    for text in ('{"cells": [', '{"cells":[1]}', '{"cells": 1}', "{}", '{"cells": [{"cell_type": "code"}]}'):
        (tmp_path / "n.ipynb").write_text(text)
        assert not runs.notebook_complete(tmp_path / "n.ipynb")


def _hold(folder, held, done):
    runs._lock(folder)
    held.set()
    done.wait(60)


def test_a_folder_that_another_process_works_in_is_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    folder = runs.run_folder(PARAMS, "f")
    folder.mkdir(parents=True)
    disk.write_json(folder / "run.json", runs._new_manifest(folder, PARAMS, INPUTS) | {"status": "running"})
    other = context.Process(target=_hold, args=(folder, held, done))
    other.start()
    assert held.wait(60)
    assert runs.state(folder) == "running"
    with pytest.raises(ParameterError, match="locked by another process"):
        runs.open_run(PARAMS, INPUTS)
    with pytest.raises(ParameterError, match="locked by another process"):
        runs.make_way(folder, INPUTS | {"epochs": 2}, patience=0)
    other.kill()  # as a killed kernel would be: the lock goes with the process
    other.join()
    assert runs.state(folder) == "interrupted"


def test_an_unfinished_run_on_a_medium_that_cannot_be_written_to_is_interrupted(monkeypatch):
    folder = runs.open_run(PARAMS, INPUTS).folder

    def refused(self, timeout):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(runs.FileLock, "acquire", refused)
    assert runs.state(folder) == "interrupted"


SAID = '''"""Doc."""
def f(x, notes):
    """Says 1."""
    print(f"x is {x}")  # a comment
    logging.info("x")
    notes.append("odd")
    if x < 0:
        raise ValueError(f"x: got {x}")
    assert x, "none"
    return Field(x, description="one")
'''
PLAIN = "def f(x, notes):\n    if x < 0:\n        raise ValueError\n    assert x\n    return Field(x)\n"
COUNTS = [("x < 0", "x < 1"), ("ValueError", "KeyError"), ("notes.append", "x.append"), ("Field(x,", "Field(-x,")]
COUNTS += [("print(f", "print(x := f"), ("print", "save"), ('"""Says 1."""', "x.zero_()")]


@pytest.fixture
def fingerprint(tmp_path, monkeypatch):
    """Of one file with cells of train.ipynb, as a run's; or of the file alone, as a report's."""
    monkeypatch.setattr(fingerprints, "PROJECT", tmp_path)
    monkeypatch.setattr(fingerprints, "CODE", ("a.py",))
    for name in ("labkit", "notebooks"):
        (tmp_path / name).mkdir()

    def write(text, *cells, words=False):
        (tmp_path / "labkit" / "a.py").write_text(text)
        cells = [{"cell_type": "code", "source": source, "metadata": {"tags": tags}} for source, *tags in cells]
        (tmp_path / "notebooks" / "train.ipynb").write_text(json.dumps({"cells": cells}))
        return fingerprints.code_fingerprint("a.py") if words else fingerprints.run_code()

    return write


def test_what_is_only_said_is_no_code_of_a_run_but_all_else_is(fingerprint):
    assert fingerprint(SAID) == fingerprint(PLAIN)
    assert len({fingerprint(SAID.replace(*change)) for change in [("", ""), *COUNTS]}) == 1 + len(COUNTS)
    report = fingerprint(SAID, words=True)  # which shows what is said, but no comment or docstring
    assert fingerprint(SAID.replace("# a comment", "").replace("Says", "Gives"), words=True) == report
    assert fingerprint(SAID.replace("x is", "x:"), words=True) != report


def test_of_the_notebook_all_cells_count_but_those_that_only_look(fingerprint):
    cells = ("fit(model)  # it", "training"), ("plot()", "look"), ("epochs = 1", "parameters")
    plain = fingerprint("", *cells)
    assert fingerprint("", ("fit(model)\nshow(model, caption='it')", "training"), ("plot(2)", "look")) == plain
    assert fingerprint("", ("fit(model, 2)", "training")) != plain
    assert fingerprint("", ("model.fc = mine()",), *cells) != plain  # a student's own cell has no tag
    assert fingerprint("", ("from labkit.reporting.a import b\nfit(model)", "training"), *cells[1:]) == plain
    assert fingerprint("", ("from labkit.training.a import b\nfit(model)", "training"), *cells[1:]) != plain
    assert fingerprint("", ("%time fit(model)", "training")) != plain


@pytest.mark.parametrize(
    ("cell", "counts"),
    [
        ("opt = SGD(model)", True),
        ("model.fc = mine()", True),
        ("class Net: pass", True),
        ("history.tail()", False),
        ("shown = plot(model)", False),
        ("epochs = 3", False),
        ("opt = AdamW(model)  # as it is", False),
    ],
)
def test_a_cell_that_was_changed_and_run_counts_before_it_is_saved_and_as_it_does_then(fingerprint, cell, counts):
    cells = ["model = net()", "opt = AdamW(model)", "history = fit(model, opt)"]
    saved = fingerprint("", *([one] for one in cells))
    assert (fingerprints.run_code(["", *cells[:2], cell, cells[2]]) != saved) == counts
    assert fingerprints.run_code([*cells[:2], "opt = SGD(model)", cells[1]]) == saved  # changed back
    changed = fingerprints.run_code([cells[0], "opt = SGD(model)", cells[2]])
    assert changed == fingerprint("", *([one] for one in (cells[0], "opt = SGD(model)", cells[2])))


def test_what_makes_images_or_holds_facts_counts_as_data_and_not_as_code(fingerprint, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "CODE", ("data",))
    found = {fingerprint("")}
    for name in ("catalog.py", "phantoms/cells.py", "prepare/crops.py", "store.py"):
        file = tmp_path / "labkit" / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1\n")
        found.add(fingerprints.run_code())
        assert len(found) == 1 + (name == "store.py")


def test_the_scores_that_choose_the_epoch_are_fingerprinted_with_what_they_call():
    rooms = {name for name in fingerprints.CODE if name.startswith("evaluation/")}
    assert "evaluation/matrices.py" in rooms
    for name in rooms:
        called = re.findall(r"from labkit\.evaluation\.(\w+)", (PROJECT / "labkit" / name).read_text())
        assert {f"evaluation/{module}.py" for module in called} <= rooms


def test_fingerprint_of_data_sees_facts_bytes_labels_groups_and_the_order_that_decides_the_batches():
    table = pd.DataFrame({"image_id": ["a", "b"], "label": pd.array([0, None], "Int64"), "group": ["p", None]})
    table["split"] = ["train", "unlabeled"]
    known, hashes = facts("retinopathy"), {"a": "1", "b": "2"}

    def seen(table=table, hashes=hashes, known=known):
        return fingerprints.data_fingerprint(SimpleNamespace(table=table, facts=known), pd.Series(hashes))

    others = [seen(table[::-1]), seen(hashes=hashes | {"b": "3"}), seen(table.assign(group=["q", None]))]
    others += [seen(table.assign(label=pd.array([1, None], "Int64")))]
    others += [seen(known=replace(known, **{name: value})) for name, value in (("task", "classes"), ("classes", "ab"))]
    assert len({seen(), *others}) == 1 + len(others)
    assert seen(known=replace(known, licence="ours", counts={}, course_split_note="")) == seen()  # decides no number


def test_name_place_and_workers_do_not_change_a_run_but_its_seed_does():
    inputs = fingerprints.run_inputs(PARAMS, "d")
    same = PARAMS.model_copy(update={"study": "t", "run": "b", "data": "elsewhere", "num_workers": 4})
    assert fingerprints.run_inputs(same, "d") == inputs
    assert fingerprints.run_inputs(PARAMS.model_copy(update={"seed": 1}), "d") != inputs
    assert fingerprints.run_inputs(PARAMS, "other data") != inputs
    assert "group_column" not in inputs and "follow_links" not in inputs and inputs["dataset"] == "retinopathy"
    read = fingerprints.run_inputs(PARAMS.model_copy(update={"group_column": "mrn"}), "d")
    assert read == inputs | {"group_column": "mrn"}  # how the data is read counts where it is set


GPU = {"device": "cuda", "precision": "bf16"}
CPU = {"device": "cpu", "precision": "fp32", "threads": 2}


def test_what_is_left_to_the_machine_is_fingerprinted_as_it_was_used():
    inputs = fingerprints.run_inputs(PARAMS, "d")
    run = runs.open_run(PARAMS, inputs, GPU)
    assert run.manifest["inputs"] == inputs | GPU
    assert run.fingerprint != fingerprints.fingerprint_of(inputs | CPU)
    by_hand = PARAMS.model_copy(update={"run": None})
    assert len({runs.open_run(by_hand, inputs, used).folder for used in (GPU, CPU)}) == 2
    named = fingerprints.run_inputs(PARAMS.model_copy(update={"device": "cpu", "threads": 4}), "d")
    assert fingerprints.resolved(named, GPU | {"threads": 1}) == named | {"precision": "bf16"}


def test_a_finished_run_keeps_its_device_and_one_that_is_named_must_be_the_same():
    """A machine without a GPU asks for no training of what a GPU has trained."""
    inputs = fingerprints.run_inputs(PARAMS, "d")
    run = runs.open_run(PARAMS, inputs, GPU)
    run.finish()
    assert runs.why_run(run.folder, inputs) == "finished, but its notebook was cut short"
    assert runs.open_run(PARAMS, inputs, CPU).manifest == run.manifest
    named = runs.why_run(run.folder, inputs | {"device": "cpu"})
    assert named == "changed since it was run: device (it was cuda)"
    assert runs.open_run(PARAMS, inputs | {"epochs": 9}, CPU).manifest["inputs"] == inputs | {"epochs": 9} | CPU


def test_a_run_that_was_begun_goes_on_with_its_device_and_threads_or_not_at_all():
    inputs = fingerprints.run_inputs(PARAMS, "d")
    begun = runs.open_run(PARAMS, inputs, CPU)
    begun.path("history.csv").write_text("epoch")
    assert runs.open_run(PARAMS, inputs, CPU | {"threads": 8}).manifest["inputs"]["threads"] == 2
    runs._open[begun.folder].release()
    runs.mark_failed(begun.folder, PARAMS, inputs, "killed")
    assert disk.read_json(begun.path("run.json"))["fingerprint"] == begun.fingerprint
    with pytest.raises(ParameterError, match=r"^device: got auto, here cuda, but .* begun with cpu; .* device to cuda"):
        runs.open_run(PARAMS, inputs, GPU)
    assert begun.path("history.csv").exists()
    runs.open_run(PARAMS.model_copy(update={"device": "cuda"}), inputs | {"device": "cuda"}, GPU)
    assert not begun.path("history.csv").exists()


def test_a_weights_file_is_found_relative_to_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    resolved = runs.resolve_weights(RunParams(weights="weights/a.safetensors"))
    assert resolved.weights == str(runs.PROJECT / "weights" / "a.safetensors")
    assert runs.resolve_weights(RunParams(weights="IMAGENET1K_V1")).weights == "IMAGENET1K_V1"


def test_weights_of_a_run_are_found_by_seed_then_seed_0_then_refused():
    child = RunParams(study="s", run="c", weights="run:a", seed=5)
    with pytest.raises(ParameterError, match="no finished run"):
        runs.resolve_weights(child)
    runs.open_run(PARAMS, INPUTS).finish()
    resolved = runs.resolve_weights(child)
    assert resolved.weights is not None and resolved.weights.endswith("a-seed0/model.safetensors")
    assert resolved.parent == fingerprints.fingerprint_of(INPUTS)
    assert runs.resolve_weights(resolved) == resolved
    runs.open_run(PARAMS, INPUTS | {"epochs": 7}).finish()
    kept = runs.run_folder(PARAMS, "").with_name(f"a-seed0@{resolved.parent[:8]}")
    assert runs.resolve_weights(resolved).weights == str(kept / "model.safetensors")
    shutil.rmtree(kept)
    with pytest.raises(ParameterError, match="comes from another run"):
        runs.resolve_weights(resolved)
    (runs.run_folder(PARAMS, "") / "run.json").unlink()
    with pytest.raises(ParameterError, match="does not exist any more"):
        runs.resolve_weights(resolved)


def test_the_best_run_is_one_that_the_study_compares(monkeypatch):
    table = {"title": "t", "question": "q", "sources": {"start": {}}, "runs": {"a": {}, "b": {}}}
    monkeypatch.setattr(lookup, "load_study", lambda name: Study(name=name, **table))
    # Epoch 2 was kept, by accuracy; variants are compared by their mean over seeds, as in the report.
    for name, seed, reached in (("start", 0, 0.9), ("a", 0, 0.2), ("a", 1, 0.6), ("b", 0, 0.5), ("b", 1, 0.4)):
        run = runs.open_run(PARAMS.model_copy(update={"run": name, "seed": seed}), INPUTS | {"seed": seed})
        other = 0.9 if name == "a" else 0.0
        disk.write_csv(run.path("history.csv"), pd.DataFrame({"epoch": [1, 2], "val_qwk": [other, reached]}))
        run.finish(score="qwk", best_epoch=2)
    assert lookup.best_on_validation("s").name == "b-seed0"


def test_runs_in_hidden_folders_are_never_meant(own_reports, monkeypatch):
    """``reports/.test`` and ``reports/.verify`` hold runs of real studies, and newer ones."""
    runs.open_run(PARAMS.model_copy(update={"study": "tiny"}), INPUTS).finish()
    for hidden in (".verify", ".test"):
        monkeypatch.setenv("LABKIT_REPORTS", str(own_reports / hidden))
        runs.open_run(PARAMS.model_copy(update={"study": "demo", "run": "only-there"}), INPUTS).finish()
        assert lookup.latest_study() == "demo"  # where it is the folder of the reports itself
    monkeypatch.setenv("LABKIT_REPORTS", str(own_reports))
    assert lookup.latest_study() == "tiny"
    assert lookup.find_run(None, "a").parent.parent == own_reports / "tiny"
    with pytest.raises(ParameterError, match=r"there are: a-seed0 \(study tiny\)$"):
        lookup.find_run(None, "only-there")


def test_predictions_come_back_bit_for_bit(tmp_path, predictions):
    exact = predictions.astype({f"logit_{k}": "float32" for k in range(3)})
    disk.write_csv(tmp_path / "predictions.csv", exact)
    back = runs.read_predictions(tmp_path)
    for k in range(3):
        assert (back[f"logit_{k}"].astype("float32") == exact[f"logit_{k}"]).all()
    assert list(back["group"]) == list(predictions["group"])


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    disk.write_text(path, "old")

    def half(temporary):
        temporary.write_text("ha")
        raise OSError("disk full")

    with pytest.raises(disk.NotWritten, match=r"a\.txt: cannot be written.*disk full"):
        disk.write_whole(path, half)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.glob("*a.txt*")] + [p.name for p in tmp_path.glob(".*")] == ["a.txt"]


@pytest.mark.parametrize(("number", "cure"), [
    (errno.ENOSPC, "free some space"), (errno.EROFS, "mount it for writing"), (errno.EACCES, "writable for you"),
])  # fmt: skip
def test_what_the_disk_refuses_is_said_with_the_file_and_the_cure(tmp_path, monkeypatch, number, cure):
    def refused(temporary):
        raise OSError(number, os.strerror(number))

    words = f"a.txt: cannot be written .{os.strerror(number)}.; .*{cure}.*"
    for place in ("LABKIT_REPORTS", "LABKIT_CACHE", "TMPDIR"):
        monkeypatch.setenv("LABKIT_REPORTS", str(tmp_path if place == "LABKIT_REPORTS" else tmp_path / "other"))
        monkeypatch.setenv("LABKIT_CACHE", str(tmp_path if place == "LABKIT_CACHE" else tmp_path / "other"))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path if place == "TMPDIR" else tmp_path / "other"))
        with pytest.raises(disk.NotWritten, match=f"{words}set {place} to"):
            disk.write_whole(tmp_path / "a.txt", refused)


def test_torchs_own_error_for_a_full_disk_is_said_as_one(tmp_path, monkeypatch):
    def refused(temporary):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")

    with pytest.raises(RuntimeError, match="PytorchStreamWriter"):
        disk.write_whole(tmp_path / "a.pt", refused)
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(disk.NotWritten, match=r"a\.pt: cannot be written .No space left"):
        disk.write_whole(tmp_path / "a.pt", refused)


def test_what_a_killed_call_left_in_a_folder_goes_with_the_next_lock(tmp_path):
    (tmp_path / ".report.html.1-2.tmp").write_text("half")
    (tmp_path / ".mine.v2.tmp").write_text("a person's")
    with disk.alone(tmp_path / ".lock", ValueError("held")):
        assert not (tmp_path / ".report.html.1-2.tmp").exists() and (tmp_path / ".mine.v2.tmp").exists()
        with pytest.raises(ValueError, match="held"), disk.alone(tmp_path / ".lock", ValueError("held")):
            pass
