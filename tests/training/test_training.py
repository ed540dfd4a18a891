"""The loop: resumes to the bit, chooses on validation, counts looks at test, and leaves the run folder as promised."""

import multiprocessing
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from labkit.data.loaders import make_loaders
from labkit.evaluation import matrices
from labkit.models.build import build_model, network_of
from labkit.params import ParameterError, RunParams
from labkit.runs.fingerprint import run_inputs
from labkit.runs.folder import open_run
from labkit.training import loop, recorder
from labkit.training.device import choose_device, set_up
from labkit.training.loop import class_weights, fit
from labkit.training.optim import make_optimizer, make_scheduler
from labkit.training.predict import predict, predict_chosen, predictions_table
from labkit.training.recorder import mean_loss

BASE = RunParams(
    study="t",
    run="r",
    image_size=24,
    batch_size=16,
    epochs=3,
    threads=1,
    device="cpu",
    learning_rate=1e-3,
    val_fraction=0.2,
)


def parts(data, params):
    """What the notebook makes and hands to `fit`."""
    table, store = data
    accelerator, run = set_up(params), open_run(params, run_inputs(params, "d"))
    loaders, score = make_loaders(table, store, params), matrices.EpochScore(table, 5, "qwk")
    return [network_of(params, 5), loaders, params, accelerator, run, score]


def train(data, params=BASE, inputs=None, score=None):
    table, store = data
    accelerator = set_up(params)
    run = open_run(params, inputs or run_inputs(params, "d"))
    model = build_model(params.arch, 5, seed=params.seed)
    loaders = make_loaders(table, store, params)
    history = fit(model, loaders, params, accelerator, run, score or matrices.EpochScore(table, 5, "qwk"))
    return run, model, history, loaders


def test_training_learns_what_there_is_to_learn(data):
    run, _, history, _ = train(data, BASE.model_copy(update={"run": "long", "epochs": 8}))
    assert run.manifest["micro_batch"] == 16  # memory held whole batches
    assert history["train_loss"].iloc[-1] < 0.7 * history["train_loss"].iloc[0]
    assert history["val_qwk"].max() > 0.5  # brightness tells the grade
    assert list(history["epoch"]) == list(range(1, 9))


def test_the_chosen_epoch_is_the_best_on_validation_and_its_weights_are_kept(data):
    run, model, history, loaders = train(data)
    best = int(history.loc[history["val_qwk"].idxmax(), "epoch"])
    assert run.manifest["best_epoch"] == best
    assert "test_predictions" not in run.manifest and not [name for name in history if name.startswith("test")]
    saved = load_file(run.path("model.safetensors"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved[name]), name
    logits = predict(model, loaders["val"], BASE.normalize)
    again = matrices.EpochScore(data[0], 5, "qwk")({"val": logits})
    assert again["val_qwk"] == pytest.approx(history["val_qwk"].max())
    loss = mean_loss(loaders["val"].dataset.labels, logits, None)
    assert loss == pytest.approx(history.loc[best - 1, "val_loss"], rel=1e-5)


class Made:
    """A score that says what a test has written down."""

    name, n_classes = "qwk", 5

    def __init__(self, **columns):
        self.rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))

    def __call__(self, outputs):
        return next(self.rows)


@pytest.mark.parametrize(("by", "epoch"), [(None, 1), ("qwk", 1), ("accuracy", 2), ("macro_f1", 3)])
def test_the_metric_that_chooses_the_epoch_is_a_parameter(data, by, epoch):
    score = Made(val_accuracy=[0.7, 0.8, 0.6], val_qwk=[0.5, 0.3, 0.1], val_macro_f1=[0.1, 0.2, 0.3])
    run, *_ = train(data, BASE.model_copy(update={"select_by": by}), score=score)
    assert run.manifest["best_epoch"] == epoch


def test_of_equal_epochs_the_one_with_the_lower_loss_is_chosen(data):
    """A network that predicts one class has kappa 0 in every epoch."""
    tied, _, history, _ = train(data, score=Made(val_accuracy=[0.7] * 3, val_qwk=[0.0] * 3))
    lowest = int(history["val_loss"].idxmin()) + 1
    assert tied.manifest["best_epoch"] == lowest > 1
    by_loss = BASE.model_copy(update={"run": "loss", "select_by": "loss"})
    run, *_ = train(data, by_loss, score=Made(val_accuracy=[0.7, 0.1, 0.1]))
    assert run.manifest["best_epoch"] == lowest


@pytest.mark.parametrize("select_on", ["val", "test"])
def test_under_augment_test_the_final_score_is_that_of_the_chosen_epoch(data, select_on):
    changes = {
        "run": select_on,
        "select_on": select_on,
        "augment_test": True,
        "rotation": 40.0,
        "select_by": "accuracy",
    }
    run, model, history, loaders = train(data, BASE.model_copy(update=changes))
    outputs = predict_chosen(model, loaders, BASE.normalize, run.manifest["best_epoch"])
    final = matrices.EpochScore(data[0], 5, "qwk")(outputs)
    chosen = history.iloc[run.manifest["best_epoch"] - 1]
    assert chosen[f"{select_on}_accuracy"] == history[f"{select_on}_accuracy"].max()
    for name in matrices.CHOOSING:
        assert final[f"{select_on}_{name}"] == pytest.approx(chosen[f"{select_on}_{name}"])
    other = predict_chosen(model, loaders, BASE.normalize, 0)
    assert np.abs(other[select_on] - outputs[select_on]).max() > 1e-3  # other draws, other outputs


def test_selection_on_test_shows_a_test_curve_and_counts_every_look(data):
    run, _, history, _ = train(data, BASE.model_copy(update={"run": "course", "select_on": "test"}))
    assert run.manifest["test_predictions"] == 3
    best = history.sort_values(["test_qwk", "test_loss"], ascending=[False, True])["epoch"].iloc[0]
    assert run.manifest["best_epoch"] == best


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bytes(data, monkeypatch, stop_after):
    params = BASE.model_copy(update={"optimizer": "sgd", "rotation": 20.0})
    whole, *_ = train(data, params.model_copy(update={"run": "whole"}))
    saved, kept = recorder.save_checkpoint, []

    def die_after(*arguments):
        saved(*arguments)
        kept.append(1)
        if len(kept) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "save_checkpoint", die_after)
    with pytest.raises(KeyboardInterrupt):
        train(data, params)
    monkeypatch.setattr(recorder, "save_checkpoint", saved)
    resumed, *_ = train(data, params)
    for name in ("history.csv", "model.safetensors"):
        assert resumed.path(name).read_bytes() == whole.path(name).read_bytes(), name
    assert len(resumed.manifest["epoch_seconds"]) == 3 and resumed.manifest["attempts"] == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cell_that_is_interrupted_inside_a_step_goes_on_to_the_same_bytes(data, workers):
    """As in JupyterLab, whose interrupt ends the workers, too: network, loaders and run are those of before."""
    whole = train(data, BASE.model_copy(update={"run": "whole"}))[0]
    params, left = BASE.model_copy(update={"num_workers": workers}), [5]
    made = parts(data, params)

    def interrupt(*_):
        left[0] -= 1
        if left[0] == 0:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGINT)
            raise KeyboardInterrupt

    hook = register_optimizer_step_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(*made)
    hook.remove()
    fit(*made)
    for name in ("history.csv", "model.safetensors"):
        assert made[4].path(name).read_bytes() == whole.path(name).read_bytes(), name


@pytest.mark.parametrize(
    ("changes", "thing", "place"),
    [
        ({"precision": "bf16"}, "accelerator", "cell `accelerator = set_up"),
        ({"batch_size": 8}, "loaders", "heading Images"),
        ({"image_size": 32}, "loaders", "heading Images"),
        ({"split": "image"}, "loaders", "heading Images"),
        ({"arch": "resnet34"}, "model", "heading Network"),
        ({"learning_rate": 0.1}, "run", "heading Network"),
    ],
)
def test_what_was_made_with_other_parameters_is_refused_with_the_place_to_go_on_from(data, changes, thing, place):
    made = parts(data, BASE)
    made[2] = BASE.model_copy(update=changes)
    name, value = next(iter(changes.items()))
    with pytest.raises(
        ParameterError, match=f"^{name}: got {value!r}, but `{thing}` was made with .* from the {place}"
    ):
        fit(*made)


def test_a_trained_network_begins_no_other_run(data):
    made = parts(data, BASE.model_copy(update={"epochs": 1}))
    history = fit(*made)
    other = made[2].model_copy(update={"learning_rate": 0.1, "run": "other"})
    again = [made[0], made[1], other, made[3], open_run(other, run_inputs(other, "d")), made[5]]
    with pytest.raises(ParameterError, match=r"^model: it has been trained since .* from the heading Network on"):
        fit(*again)
    pd.testing.assert_frame_equal(fit(*made), history)  # its own run, once more
    made[4].path("checkpoint.pt").unlink()
    with pytest.raises(ParameterError, match=r"^model: it has been trained"):
        fit(*made)
    fit(network_of(other, 5), *again[1:])


def test_a_persons_own_loss_optimizer_and_schedule_are_what_is_trained_with(data):
    """SGD at its own rate, halved after an epoch; every loss, of validation too, is the smoothed one."""
    made = parts(data, BASE.model_copy(update={"epochs": 2}))
    smooth, sgd = torch.nn.CrossEntropyLoss(label_smoothing=0.5), torch.optim.SGD(made[0].parameters(), lr=0.02)
    history = fit(*made, criterion=smooth, optimizer=sgd, scheduler=lambda epoch: 0.5 ** int(epoch))
    assert list(history["learning_rate"]) == [0.02, 0.01]
    best = int(made[4].manifest["best_epoch"])
    logits, labels = predict(made[0], made[1]["val"], BASE.normalize), made[1]["val"].labels
    assert history.loc[best - 1, "val_loss"] == pytest.approx(
        float(smooth(*map(torch.tensor, (logits, labels)))), rel=1e-5
    )
    plain = fit(*parts(data, BASE.model_copy(update={"epochs": 2, "run": "plain"})))
    given = parts(data, BASE.model_copy(update={"epochs": 2, "run": "given"}))
    ours = {"optimizer": make_optimizer(given[0], BASE), "scheduler": make_scheduler(given[2])}
    pd.testing.assert_frame_equal(fit(*given, **ours), plain)


@pytest.mark.parametrize(
    ("changes", "thing"),
    [({"learning_rate": 0.1}, "optimizer"), ({"gamma": 0.5}, "scheduler"), ({}, "another network")],
)
def test_an_optimizer_or_schedule_of_other_parameters_or_of_another_network_is_refused(data, changes, thing):
    made, old = parts(data, BASE.model_copy(update=changes)), network_of(BASE, 5)
    others = {"optimizer": make_optimizer(made[0] if changes else old, BASE), "scheduler": make_scheduler(BASE)}
    with pytest.raises(ParameterError, match=f"(`|for ){thing}.* from the heading Network on"):
        fit(*made, **others)


def test_a_finished_run_is_replayed_without_training(data, monkeypatch):
    run, model, history, _ = train(data)
    run.finish()
    monkeypatch.setattr(loop, "train_one_epoch", None)  # would fail if it were called
    _, again, replayed, _ = train(data)
    pd.testing.assert_frame_equal(replayed, history, check_exact=False, rtol=1e-8)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_frozen_backbone_does_not_move_and_everything_learns_after_the_frozen_epochs(data, epochs):
    params = BASE.model_copy(update={"run": "frozen", "epochs": epochs, "freeze_epochs": 1, "weights": "given"})
    before = build_model("resnet18", 5, seed=0).state_dict()
    run, _, history, _ = train(data, params, {"x": 1})
    after = torch.load(run.path("checkpoint.pt"), weights_only=True)["model"]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"fc.weight", "fc.bias"} if epochs == 1 else "conv1.weight" in moved
    assert list(history["phase"]) == ["head", "all"][:epochs]


def test_a_loss_that_is_no_number_stops_with_the_cure(data):
    with pytest.raises((FloatingPointError, ValueError), match=r"learning.rate"):
        train(data, BASE.model_copy(update={"run": "wild", "optimizer": "sgd", "learning_rate": 10.0, "epochs": 30}))


def test_progress_is_one_plain_line_an_epoch_and_an_estimate_after_20_steps(data, capsys):
    train(data, BASE.model_copy(update={"run": "lines", "batch_size": 4, "epochs": 3}))
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if not line.startswith("Decoding")]
    assert "\r" not in said and len(lines) == 4
    assert any("minutes to go, by the first 20 steps" in line for line in lines)
    assert sum("minutes to go" in line for line in lines) == 1
    assert sum(line.startswith("epoch ") for line in lines) == 3


def test_bf16_trains_on_a_cpu(data):
    _, _, history, _ = train(data, BASE.model_copy(update={"run": "bf16", "precision": "bf16", "epochs": 1}))
    assert np.isfinite(history["train_loss"]).all()


def test_fp16_on_a_cpu_and_a_missing_device_are_refused():
    with pytest.raises(ParameterError, match="fp16"):
        set_up(BASE.model_copy(update={"precision": "fp16"}))
    if not torch.cuda.is_available():
        with pytest.raises(ParameterError, match=r"'cuda'.*cpu"):
            choose_device("cuda")


def test_threads_are_set_by_the_run():
    set_up(BASE.model_copy(update={"threads": 1}))
    assert torch.get_num_threads() == 1


def test_schedules_are_those_of_torch():
    steps = BASE.model_copy(update={"epochs": 20, "schedule": "step", "step_size": 7, "gamma": 0.5})
    cosine = BASE.model_copy(update={"epochs": 20, "schedule": "cosine"})
    for params, make in (
        (steps, lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.5)),
        (cosine, lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)),
    ):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=params.learning_rate)
        scheduler = make(optimizer)
        for epoch in range(20):
            assert params.learning_rate * make_scheduler(params)(epoch) == pytest.approx(
                optimizer.param_groups[0]["lr"]
            )
            optimizer.step()
            scheduler.step()


def test_class_weights_equal_scikit_learns_and_a_wrong_number_is_refused():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 7 + [1] * 2 + [2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights(labels, "balanced", 3) == pytest.approx(list(expected))
    assert class_weights(labels, "none", 3) is None
    assert class_weights(labels, "balanced", 4)[3] == 0.0
    with pytest.raises(ParameterError, match="each of the 3 classes"):
        class_weights(labels, [1.0, 2.0], 3)
    # complement: one minus the share, scaled to the first class
    assert class_weights(labels, "complement", 4) == pytest.approx([1.0, 0.8 / 0.3, 0.9 / 0.3, 1 / 0.3])
    with pytest.raises(ParameterError, match="every training image is of the first class"):
        class_weights(np.zeros(5, int), "complement", 2)


def test_the_last_epoch_is_kept_where_nothing_is_left_to_choose_by(data):
    params = BASE.model_copy(update={"run": "last", "select_on": "last", "learning_rate": 0.05})
    run, _, history, _ = train(data, params)
    assert run.manifest["best_epoch"] == 3 and "test_qwk" not in history


def test_the_loss_of_a_split_equals_torchs_cross_entropy():
    rng = np.random.default_rng(0)
    logits, labels, weights = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 4, 50), [1.0, 2.0, 0.5, 3.0]
    for weight in (None, weights):
        ours = mean_loss(labels, logits, weight)
        tensor = None if weight is None else torch.tensor(weight)
        theirs = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels), tensor)
        assert ours == pytest.approx(float(theirs), rel=1e-5)


def test_predictions_come_in_the_tables_order_with_its_ids(data):
    table, store = data
    loaders = make_loaders(table, store, BASE)
    model = build_model("resnet18", 5)
    parts = {name: table[table["split"] == name] for name in ("val", "test")}
    logits = {name: predict(model, loaders[name], BASE.normalize) for name in parts}
    whole = predictions_table(parts, logits)
    assert list(whole["image_id"]) == [*parts["val"]["image_id"], *parts["test"]["image_id"]]
    assert list(whole["label"]) == [*parts["val"]["label"], *parts["test"]["label"]]
    model.eval()
    row = parts["test"].iloc[5]
    from labkit.data.augment import to_float

    image = torch.from_numpy(store.images[[store.rows[row["image_id"]]]].copy())
    expected = model(to_float(image, BASE.normalize)).detach().numpy()[0]
    found = whole[whole["image_id"] == row["image_id"]][[f"logit_{k}" for k in range(5)]].to_numpy()[0]
    assert found == pytest.approx(expected, abs=1e-4)
