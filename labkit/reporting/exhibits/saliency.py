"""What spoke for a prediction: Grad-CAM maps, and the check against networks of random weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import nn

from labkit.evaluation.decide import mistakes
from labkit.evaluation.gradcam import Agreement, agreement, enlarged, grad_cam, heat, on_background
from labkit.format import fixed, listing, missing, percent, plural, whole, word
from labkit.models.build import build_model, load_trained
from labkit.reporting.images import Pixels, image_grid, open_pixels
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import WIDTH
from labkit.runs.folder import read_params, run_folder

UNTRAINED = 3  # networks of random weights that a trained one is compared with: one alone may agree at random
LEAST_MAPS = 4  # of which one pairing in 24 is the true one: of fewer none is rarer than 5 %
ALIKE = 0.7  # a rank correlation from which on maps are called mostly the same
LEAST_BACKGROUND = 0.01  # of the pixels: less is noise at the border
OPACITY = 0.5  # of the hottest place of a Grad-CAM map over its image; cold places show the image alone


def saliency_maps(folder: Path, pixels: Pixels, rows: pd.DataFrame, n_classes: int) -> tuple[np.ndarray, Agreement]:
    """Grad-CAM of each row's prediction (n, h, w), and how far networks of random weights draw the same maps."""
    images, predictions = pixels.of(rows["image_id"].tolist()), rows["prediction"].to_numpy(np.int64)
    params = read_params(folder)

    def maps_of(network: nn.Module) -> np.ndarray:
        return grad_cam(network, images, predictions, pixels.params.normalize)

    trained, untrained = maps_of(load_trained(folder)), []
    for seed in range(params.seed + 1, params.seed + 1 + UNTRAINED):
        design = {"deviation": params.deviation, "image_size": params.input_size}
        network = build_model(params.arch, params.outputs(n_classes), seed=seed, **design)
        untrained.append(maps_of(network))
    return trained, agreement(trained, untrained)


def saliency_rows(test: pd.DataFrame, wrong: pd.DataFrame, each: int = 4) -> pd.DataFrame:
    """Of a decided test table, with the column `outcome`: the `each` most confident mistakes, and right predictions.

    The latter are the first of each class by image_id, the rarest class first, so that not all of them are healthy.
    """
    right = test.loc[(test["prediction"] == test["label"]).fillna(False).to_numpy(bool)].sort_values("image_id")
    turn = right.groupby("prediction").cumcount()
    rarity = right["prediction"].map(right["prediction"].value_counts())
    order = pd.DataFrame({"turn": turn, "rarity": rarity}).sort_values(["turn", "rarity"], kind="stable").index
    shown = [right.loc[order[:each]].assign(outcome="right"), wrong.head(each).assign(outcome="wrong")]
    return pd.concat(shown, ignore_index=True)


def saliency_gallery(rows: pd.DataFrame, maps: np.ndarray, pixels: Pixels, classes: Sequence[str]) -> Figure:
    """Images and, below them, the same under their Grad-CAM maps (n, h, w); `rows` as `saliency_rows` gives them."""
    images = pixels.of(rows["image_id"].tolist())
    pictures, titles, names, under = [], [], [], overlays(images, maps)
    for outcome, mine in rows.groupby("outcome", sort=False):
        pictures += [source[place] for source in (images, under) for place in mine.index]
        names += [f"{outcome} predictions"] * len(mine) + [f"Grad-CAM ({outcome})"] * len(mine)
        titles += [f"{classes[row['label']]}\nas {classes[row['prediction']]}" for row in mine.to_dict("records")]
        titles += list(mine["image_id"])
    return image_grid(pictures, titles, names, columns=max(rows["outcome"].value_counts()), largest=0.95)


def looked_at(
    images: np.ndarray, maps: np.ndarray, titles: Sequence[str], of_map: str = "Grad-CAM", pairs: int = 2
) -> Figure:
    """Each image (n, H, W, 3) with its title, and beside it the same under its map (n, h, w); `pairs` of them a row."""
    pictures = [picture for pair in zip(images, overlays(images, maps), strict=True) for picture in pair]
    said = [text for title in titles for text in (title, of_map)]
    return image_grid(pictures, said, columns=2 * pairs, largest=WIDTH / (2 * pairs))


def overlays(images: np.ndarray, maps: np.ndarray) -> list[np.ndarray]:
    """Images uint8 (H, W, 3) under their maps (h, w), enlarged smoothly: the hotter, the more opaque."""
    found = []
    for image, heat_map in zip(images, heat(maps), strict=True):
        large = enlarged(heat_map, *image.shape[:2])
        opacity, colours = OPACITY * large[..., None], colormaps["inferno"](large)[..., :3] * 255
        found.append((image * (1 - opacity) + colours * opacity).round().astype(np.uint8))
    return found


def saliency_sentence(agreement: Agreement, maps: np.ndarray, images: np.ndarray) -> str:
    """What the check against random weights says of Grad-CAM maps (n, h, w) of images (n, H, W, 3), how much of their
    heat lies on a black background, and how many maps are empty."""
    n, side = maps.shape[:2]
    same, others, highest = agreement
    text = f"A map has {side} × {side} places and is enlarged in the figure. "
    if missing(same):
        text += "The check against random weights cannot be made: the maps are of one value."
    else:
        text += f"As a check, {word(UNTRAINED)} networks with random weights drew maps of the same images: their mean "
        text += f"rank correlation with these is {fixed(same, 2)} (1: the same order of places)."
        chance = f" Paired at random with maps of other images, they have {fixed(others, 2)}, and in 95 % of such "
        chance += "pairings at most "
        if n < LEAST_MAPS:
            text += f" {plural(n, 'map')} {'is' if n == 1 else 'are'} too few to say what it would be by chance."
        elif same > ALIKE:
            shown = "the image" if same > highest else "what these images have in common"
            text += f"{chance}{fixed(highest, 2)}. So the maps show mostly {shown}, not what was learnt."
        elif same > highest:
            text += (
                f"{chance}{fixed(highest, 2)}. So the maps depend in part on the image alone; what the rest shows is "
            )
            text += "not known."
        else:
            text += (
                f"{chance}{fixed(highest, 2)}. So this check finds no sign that the maps show the image alone, which "
            )
            text += "proves little."
    text += " A map shows which places speak for the prediction, not why; it does not prove a sign of disease."
    found = on_background(maps, images)
    if found.n and found.pixels >= LEAST_BACKGROUND:
        text += f" {percent(found.heat, 0)} of the heat lies on the black background, which has "
        text += f"{percent(found.pixels, 0)} of the pixels; the hottest place of {whole(found.hottest)} of "
        text += f"{plural(found.n, 'map')} lies there."
    if empty := n - found.n:
        text += f" In {whole(empty)} of {plural(n, 'image')} no place supports the prediction, so nothing is coloured."
    return text


def saliency(results: StudyResults) -> Exhibit:
    """Grad-CAM of the chosen variant's predictions, right and wrong ones."""
    test, run = results.tests[results.chosen], results.firsts[results.chosen]
    pixels = open_pixels(run["params"])
    rows = saliency_rows(test, mistakes(test))
    folder = run_folder(run["params"], run["fingerprint"])
    maps, agreement = saliency_maps(folder, pixels, rows, len(results.classes))
    text = saliency_sentence(agreement, maps, pixels.of(rows["image_id"].tolist()))
    results.shown.add("explanation")
    kinds = {"right": "right predictions", "wrong": "the worst mistakes"}
    shown = listing([kinds[outcome] for outcome in rows["outcome"].unique()])
    caption = f"{shown[0].upper()}{shown[1:]}, with heat maps of what spoke for them{results.by_chosen}"
    figure = saliency_gallery(rows, maps, pixels, results.classes)
    alt = f"Test images in rows: {shown}; below each row the same images under their "
    return Exhibit(figure=figure, caption=f"{caption}{results.once}", alt=f"{alt}Grad-CAM heat maps.", text=text)
