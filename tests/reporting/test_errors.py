"""Single predictions: the most confident mistakes, what spoke for a prediction, and scores by subgroup."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t
from torch import nn

from labkit.data.loaders import make_loaders
from labkit.data.source import open_data
from labkit.data.splits import assign_splits
from labkit.evaluation.decide import decide, mistakes, top_losses
from labkit.evaluation.gradcam import agreement, explained_block, grad_cam, heat, on_background
from labkit.evaluation.subgroups import brightness_and_sharpness, by_subgroup, gaps, thirds
from labkit.models.build import build_model
from labkit.params import RunParams
from labkit.reporting.exhibits.mistakes import (
    mildest_sentence,
    mistake_titles,
    mistakes_gallery,
    mistakes_sentence,
    pairs_gallery,
    top_losses_sentence,
)
from labkit.reporting.exhibits.saliency import saliency_gallery, saliency_maps, saliency_rows, saliency_sentence
from labkit.reporting.exhibits.subgroups import constant_sentence, one_class_sentence, subgroup_dots, subgroup_sentence
from labkit.reporting.images import open_pixels
from labkit.runs.folder import cache_root, open_run
from labkit.training.checkpoint import save_weights
from labkit.training.predict import predict, predictions_table


class Colours(nn.Module):
    """Class 0 is red, class 1 is blue: a network whose deciding pixels are known."""

    def __init__(self, learnt: bool):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv2d(3, 2, 4, stride=4)])
        self.head = nn.Linear(2, 2, bias=False)
        if learnt:
            with torch.no_grad():
                self.blocks[0].weight.zero_()
                self.blocks[0].weight[0, 0], self.blocks[0].weight[1, 2] = 1 / 16, 1 / 16
                self.head.weight.copy_(torch.eye(2))

    def get_classifier(self) -> nn.Linear:
        return self.head

    def forward(self, images):
        return self.head(self.blocks[0](images).mean((2, 3)))


@pytest.fixture
def patches() -> np.ndarray:
    """A red patch above on the left and a blue one below on the right, on noise; (6, 32, 32, 3)."""
    images = np.random.default_rng(0).integers(0, 60, (6, 32, 32, 3)).astype(np.uint8)
    images[:, 4:8, 8:12, 0] = 250
    images[:, 24:28, 20:24, 2] = 250
    return images


def test_the_map_of_each_class_peaks_on_the_pixels_that_decide(patches):
    for label, place in ((0, (1, 2)), (1, (6, 5))):
        maps = heat(grad_cam(Colours(True), patches, np.full(6, label), "unit"))
        assert maps.shape == (6, 8, 8) and maps.max() == 1
        assert all(np.unravel_index(one.argmax(), one.shape) == place for one in maps)


def test_the_check_notices_random_weights(patches):
    torch.manual_seed(0)
    classes = np.zeros(6, int)
    learnt, random = (grad_cam(Colours(kind), patches, classes, "unit") for kind in (True, False))
    assert agreement(learnt, [learnt]).same == pytest.approx(1) == pytest.approx(agreement(learnt, [-learnt]).same)
    assert agreement(learnt, [random]).same < 0.7
    assert np.isnan(agreement(learnt, [np.zeros_like(learnt)])).all()
    assert "cannot be made" in said_of(learnt, [np.zeros_like(learnt)], patches)
    assert "In 6 of 6" in said_of(-np.abs(learnt), [random], patches)
    assert "too few to say" in said_of(learnt[:1], [random[:1]], patches[:1])


def said_of(trained, untrained, images) -> str:
    return saliency_sentence(agreement(trained, untrained), trained, images).replace("\u00a0", " ")


def maps_of_eyes(seed: int, own: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Of a trained and three untrained networks: what all images share, what each has of its `own`, and noise."""
    draws = np.random.default_rng(seed)
    frame, image = draws.normal(size=(4, 4)), own * draws.normal(size=(8, 4, 4))
    trained, *untrained = (frame + image + 1.2 * draws.normal(size=(8, 4, 4)) for _ in range(4))
    return trained, untrained


def test_chance_is_the_agreement_with_maps_of_other_images():
    found = [agreement(*maps_of_eyes(seed, own=0.0)) for seed in range(400)]
    same, others = (float(np.mean([getattr(one, which) for one in found])) for which in ("same", "others"))
    assert same == pytest.approx(others, abs=0.01) and others > 0.33  # independent places would have 0.206
    assert np.mean([one.same > one.highest for one in found]) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    dark = np.zeros((8, 32, 32, 3), np.uint8)
    assert "no sign that the maps show the image alone" in said_of(*maps_of_eyes(0, own=0.0), dark)
    assert "in part on the image alone; what the rest shows is not known" in said_of(*maps_of_eyes(0, own=1.5), dark)
    same, others = (np.broadcast_to(np.arange(16.0).reshape(4, 4) * k, (8, 4, 4)) for k in (1, -1))
    assert "mostly what these images have in common" in said_of(same, [others], dark)


def test_heat_on_the_black_around_the_eye_is_said():
    images = np.full((4, 32, 32, 3), 120, np.uint8)
    images[:, :, 16:], images[:, 10:14, 4:8] = 3, 0  # the right half; and a dark spot inside, which is no background
    maps = np.zeros((4, 8, 8), np.float32)
    maps[:3, 3, 6], maps[3, 3, 1] = 1, 1
    found = on_background(maps, images)
    assert found.pixels == 0.5 and (found.hottest, found.n) == (3, 4) and found.heat == pytest.approx(0.75, abs=0.01)
    said = said_of(maps, [maps], images)
    assert "75 % of the heat lies on the black background, which has 50 % of the pixels" in said
    assert "the hottest place of 3 of 4 maps lies there" in said
    assert "background" not in said_of(maps, [maps], np.full_like(images, 120))


def test_maps_of_resnets_keep_four_places_a_side():
    model = build_model("resnet18", 5).eval()
    blocks = {size: explained_block(model, torch.zeros(1, 3, size, size)) for size in (224, 64, 28)}
    assert blocks[224] is model.layer4 and blocks[64] is model.layer3 and blocks[28] is model.layer2


# --- subgroups --------------------------------------------------------------------------------------------------------


def test_brightness_and_sharpness_of_images_that_are_known():
    flat, checked = np.full((8, 8, 3), 100, np.uint8), np.zeros((8, 8, 3), np.uint8)
    checked[::2, ::2] = checked[1::2, 1::2] = 200
    found = brightness_and_sharpness([flat, checked])
    assert found["brightness"].tolist() == pytest.approx([100, 100], rel=1e-3)
    assert found["sharpness"][0] == pytest.approx(0, abs=1e-3) and found["sharpness"][1] == pytest.approx(
        800**2, rel=1e-3
    )


def test_thirds_are_of_equal_size_and_never_part_equal_values():
    assert np.bincount(thirds(np.random.default_rng(0).permutation(30))).tolist() == [10, 10, 10]
    assert thirds([1, 1, 1, 1, 2, 3]).tolist() == [0, 0, 0, 0, 2, 2]
    assert set(thirds([5, 5, 5])) == {0}


def subgroup_data():
    """Sixty images of thirty patients: all right where it is bright, all wrong where it is dark."""
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(60)], "group": [f"g{k // 2}" for k in range(60)]})
    table["side"] = ["left", "right"] * 30
    table["label"] = [k // 2 % 2 for k in range(60)]
    table["prediction"] = np.where(np.arange(60) < 20, 1 - table["label"], table["label"])
    quality = pd.DataFrame({"brightness": np.arange(60.0), "sharpness": 1.0}, index=table["image_id"])
    return table, quality


def test_a_score_by_subgroup_is_that_of_its_images():
    table, quality = subgroup_data()
    found = by_subgroup(table, quality, 2, "accuracy")
    assert found["part"].tolist() == ["left", "right", "dark", "medium", "bright"]  # sharpness is the same for all
    assert found["estimate"].tolist() == pytest.approx([2 / 3, 2 / 3, 0, 1, 1])
    assert found["n"].tolist() == [30, 30, 20, 20, 20] and found["range"].tolist()[2] == "0 to 19"
    said = subgroup_sentence(found, gaps(table, quality, 2, "accuracy"), "accuracy").replace("\u00a0", " ")
    assert found["groups"].tolist() == [30, 30, 10, 10, 10]  # thirds of ten groups are too few to speak of
    assert said == "Accuracy does not differ by eye."
    large = pd.concat([table.assign(image_id=table["image_id"] + x, group=table["group"] + x) for x in "abc"])
    bright = pd.concat([quality.set_axis(quality.index + x) for x in "abc"])
    asked = (large, bright, 2, "accuracy")
    said = subgroup_sentence(by_subgroup(*asked), gaps(*asked), "accuracy").replace("\u00a0", " ")
    assert "by brightness: 100.0 % [88.4–100.0] on medium images against 0.0 % [0.0–11.6] on dark images" in said
    assert "a gap of 100.0 points, without an interval." in said  # no draw differs
    eye, brightness = subgroup_dots(found, "accuracy", 2 / 3).axes
    assert eye.get_yticklabels()[0].get_text() == "left (n = 30)"
    assert brightness.get_yticklabels()[0].get_text() == "dark, 0 to 19 (n = 20, too few)"
    with pytest.raises(ValueError, match="'loss' is not one of"):
        by_subgroup(table, quality, 2, "loss")


def test_without_sides_and_with_equal_images_there_is_nothing_to_compare():
    table, quality = subgroup_data()
    found = by_subgroup(table.assign(side=pd.NA), quality.assign(brightness=1.0), 2, "qwk")
    nothing = gaps(table.assign(side=pd.NA), quality.assign(brightness=1.0), 2, "qwk")
    assert found.empty and "no two subgroups" in subgroup_sentence(found, nothing, "qwk")


def test_a_part_of_one_true_class_has_no_kappa_and_is_named_instead_of_compared():
    table, _ = drawn_subgroups(0.2)
    table.loc[table["side"] == "left", ["label", "prediction"]] = 0  # all right: kappa would be 0 / 0
    asked = (table.assign(sex=np.repeat(["f", "m"], 100)), pd.DataFrame(), 2, "qwk", ["sex"])
    found = by_subgroup(*asked).set_index("part")
    assert (
        np.isnan(found.loc["left", ["estimate", "low", "high"]].astype(float)).all() and found.loc["left", "only"] == 0
    )
    assert set(gaps(*asked)["factor"]) == {"sex"}  # the other eye alone is nothing to compare
    said = one_class_sentence(by_subgroup(*asked), "qwk", ["No DR", "Mild"])
    assert said == "Left eyes are all No DR, so quadratic weighted kappa says nothing there. "
    assert one_class_sentence(by_subgroup(*asked[:3], "accuracy"), "accuracy", ["No DR", "Mild"]) == ""
    subgroup_dots(by_subgroup(*asked), "qwk", 0.5)
    said = constant_sentence(by_subgroup(*asked), "qwk", "a", "No DR")
    assert said == "a predicts “No DR” for every image, so its quadratic weighted kappa is 0 in every other subgroup."


def drawn_subgroups(lost: float, patients: int = 100) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two eyes a patient of which seven in ten are right together; of left eyes a share `lost` is wrong besides."""
    generator, groups = np.random.default_rng(0), np.repeat(np.arange(patients), 2)
    wrong = (generator.random(patients) < 0.3)[groups] | (
        (np.arange(len(groups)) % 2 == 0) & (lost > groups / patients)
    )
    table = pd.DataFrame({"image_id": groups.astype(str), "group": groups.astype(str), "label": groups % 2})
    table["image_id"], table["side"] = table["image_id"] + np.tile(["l", "r"], patients), ["left", "right"] * patients
    return table.assign(prediction=np.where(wrong, 1 - table["label"], table["label"])), pd.DataFrame()


def test_two_eyes_of_one_patient_are_drawn_together_so_that_a_small_gap_between_them_is_seen():
    table, _ = drawn_subgroups(0.2)
    (row,) = gaps(table, pd.DataFrame(), 2, "accuracy").to_dict("records")
    left, right = ((one["prediction"] == one["label"]).to_numpy(float) for _, one in table.groupby("side"))
    error = np.std(right - left, ddof=1) / np.sqrt(len(left))  # of a paired difference
    assert row["difference"] == pytest.approx(np.mean(right - left))
    assert (row["high"] - row["low"]) / 2 == pytest.approx(t.isf(0.025, 99) * error, rel=0.06)
    said = subgroup_sentence(by_subgroup(table, pd.DataFrame(), 2, "accuracy"), pd.DataFrame([row]), "accuracy")
    assert "more than random variation" in said and "most frequent class" in said


def test_a_gap_is_random_variation_if_the_interval_for_all_pairs_holds_0():
    table, _ = drawn_subgroups(0.02)
    table["sex"] = np.repeat(["f", "m"], 100)
    found = gaps(table, pd.DataFrame(), 2, "accuracy", ["sex"])
    assert set(found["factor"]) == {"eye", "sex"} and (found["low"] < 0).all() and (found["high"] > 0).all()
    asked = by_subgroup(table, pd.DataFrame(), 2, "accuracy", ["sex"])
    assert "(simultaneous interval of 2 pairs of subgroups): this may be" in subgroup_sentence(
        asked, found, "accuracy"
    ).replace("\u00a0", " ")


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_the_most_confused_pairs_are_counted_and_come_first():
    wrong = pd.DataFrame({"label": [0, 0, 0, 2, 2, 1], "prediction": [1, 1, 1, 0, 0, 0]})
    black = SimpleNamespace(of=lambda names: np.zeros((len(names), 8, 8, 3), np.uint8))
    figure = pairs_gallery(wrong.assign(image_id=list("uvwxyz")), black, "abc")
    rows = [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()]
    assert rows == ["a as b\n(3)", "c as a\n(2)", "b as a\n(1)"]
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == list("uvwxyz")


def test_sentences_on_mistakes_name_the_file(predictions):
    decided = decide(predictions)
    wrong = mistakes(decided)
    said = mistakes_sentence(wrong, 30, "abc")
    assert said.startswith(f"{len(wrong)} of 30") and wrong["image_id"].iloc[0] in said
    assert "All 30" in mistakes_sentence(wrong.iloc[:0], 30, "abc").replace("\u00a0", " ")
    assert mildest_sentence(decided, "abc", ()).endswith(" for c.")
    assert mildest_sentence(decided.query("label != 1"), "abc", ()) == "No test image is b."


@pytest.mark.parametrize("loss", ["cross_entropy", "ordinal"])
def test_galleries_of_a_finished_run(image_folder, loss):
    params = RunParams(study="t", run="a", data=str(image_folder), image_size=32, crop_size=28, threads=1, loss=loss)
    pixels = open_pixels(params)
    table, hashes = open_data(params, cache_root())[0].table, None
    table = assign_splits(table, hashes=hashes, split="group", split_seed=0, val_fraction=0.2, test_fraction=0.2)
    run = open_run(params, {"x": 1})
    model = build_model("resnet18", params.outputs(5), seed=0)
    save_weights(run.path("model.safetensors"), model.state_dict(), "resnet18")
    parts = {name: table[table["split"] == name] for name in ("val", "test")}
    outputs = {name: predict(model, make_loaders(table, pixels.store, params)[name], "imagenet") for name in parts}
    test = decide(predictions_table(parts, outputs), 5).query("split == 'test'")
    wrong, classes = mistakes(test), ["No DR", "Mild", "Moderate", "Severe", "Proliferative DR"]
    rows = saliency_rows(test, wrong)
    run.finish(classes=classes)
    maps, alike = saliency_maps(run.folder, pixels, rows, 5)
    assert maps.shape == (len(rows), 4, 4) and 0 <= alike.same <= 1  # untrained itself
    for figure in (
        saliency_gallery(rows, maps, pixels, classes),
        mistakes_gallery(wrong.head(3), pixels, classes),
        pairs_gallery(wrong, pixels, classes),
    ):
        assert figure.axes
    quality = pixels.quality(test["image_id"].tolist())
    assert quality["brightness"].corr(test.set_index("image_id")["label"].astype(float)) > 0.9


def test_top_losses_are_the_losses_that_training_knows_the_costliest_first(predictions):
    from labkit.training.loss import losses

    test = decide(predictions)
    costly = top_losses(test)
    logits, labels = (costly[[f"logit_{k}" for k in range(3)]].to_numpy(), costly["label"].to_numpy())
    assert costly["loss"].to_numpy() == pytest.approx(losses(logits, labels))
    assert costly["loss"].is_monotonic_decreasing and len(costly) == len(test)
    said = top_losses_sentence(costly, ["a", "b", "c"])
    assert said.startswith(f"{costly['image_id'].iloc[0]} has the highest loss, ")
    assert "the 3 images with the highest loss of 30 test images" in said.replace("\xa0", " ")
    title = mistake_titles(costly.head(1), ["a", "b", "c"])[0].splitlines()
    assert title[0] == costly["image_id"].iloc[0] and title[3] == f"loss {costly['loss'].iloc[0]:.2f}"


def test_top_losses_of_grades_are_squared_errors_and_unlabelled_images_are_left_out():
    table = pd.DataFrame({"grade": [0.5, 3.0, 1.0], "label": pd.array([0, 1, None], "Int64"), "prediction": [1, 3, 1]})
    assert top_losses(table)["loss"].tolist() == [4.0, 0.25]
