"""Where the network looks: Grad-CAM maps, and the check against networks of random weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from labkit.evaluation.gradcam import agreement, grad_cam, heat
from labkit.format import fixed, missing, plural, whole
from labkit.models.build import build_model, load_trained
from labkit.reporting.images import Pixels, image_grid
from labkit.reporting.style import WIDTH
from labkit.runs.folder import read_params

UNTRAINED = 3  # networks of random weights that a trained one is compared with: one alone may agree at random
OPACITY = 0.5  # of the hottest place of a Grad-CAM map over its image; cold places show the image alone


def saliency_maps(folder: Path, pixels: Pixels, rows: pd.DataFrame, n_classes: int) -> tuple[np.ndarray, float]:
    """Grad-CAM of each row's prediction (n, h, w), and how far networks of random weights draw the same maps."""
    images, predictions = pixels.of(rows["image_id"].tolist()), rows["prediction"].to_numpy(np.int64)
    params = read_params(folder)

    def maps_of(network: nn.Module) -> np.ndarray:
        return grad_cam(network, images, predictions, pixels.params.normalize)

    trained, agreements = maps_of(load_trained(folder)), []
    for seed in range(params.seed + 1, params.seed + 1 + UNTRAINED):
        design = {"deviation": params.deviation, "image_size": params.input_size}
        network = build_model(params.arch, params.outputs(n_classes), seed=seed, **design)
        agreements.append(agreement(trained, maps_of(network)))
    return trained, float(np.mean(agreements))


def saliency_rows(test: pd.DataFrame, wrong: pd.DataFrame, each: int = 4) -> pd.DataFrame:
    """Of a decided test table: the `each` most confident mistakes, and right predictions of as many classes.

    Right predictions: the first of each class by image_id, the rarest class first, so that not all of them are healthy.
    Column `outcome` is right or wrong.
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
    under = [overlay(image, one) for image, one in zip(images, heat(maps), strict=True)]
    pictures, titles, names = [], [], []
    for outcome, mine in rows.groupby("outcome", sort=False):
        pictures += [source[place] for source in (images, under) for place in mine.index]
        names += [f"{outcome} predictions"] * len(mine) + [f"Grad-CAM ({outcome})"] * len(mine)
        titles += [f"{classes[row['label']]}\nas {classes[row['prediction']]}" for row in mine.to_dict("records")]
        titles += list(mine["image_id"])
    return image_grid(pictures, titles, names, columns=max(rows["outcome"].value_counts()))


def looked_at(
    images: np.ndarray, maps: np.ndarray, titles: Sequence[str], of_map: str = "Grad-CAM", pairs: int = 2
) -> Figure:
    """Each image (n, H, W, 3) with its title, and beside it the same under its map (n, h, w); `pairs` of them a row."""
    under = [overlay(image, one) for image, one in zip(images, heat(maps), strict=True)]
    pictures = [picture for pair in zip(images, under, strict=True) for picture in pair]
    said = [text for title in titles for text in (title, of_map)]
    return image_grid(pictures, said, columns=2 * pairs, largest=WIDTH / (2 * pairs))


def overlay(image: np.ndarray, heat_map: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) with a map (h, w) from 0 to 1 over it, enlarged smoothly: the hotter, the more opaque."""
    size = (image.shape[1], image.shape[0])
    large = np.asarray(Image.fromarray(heat_map.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    opacity = OPACITY * large[..., None]
    colours = colormaps["inferno"](large)[..., :3] * 255
    return (image * (1 - opacity) + colours * opacity).round().astype(np.uint8)


def saliency_sentence(agreement: float, maps: np.ndarray) -> str:
    """What the check against random weights says of Grad-CAM maps (n, h, w), and how many of them are empty.

    `agreement`: as `evaluation.gradcam.agreement`. Maps of independent places would agree by about
    √(2 / π (places − 1)), the mean size of a correlation of so many values; neighbours are alike, so real maps of
    different images agree by more.
    """
    n, side = maps.shape[:2]
    size = f"maps of {side} × {side} places (enlarged in the figure)"
    if missing(agreement):
        return f"The check against random weights cannot be made: the {size} are of one value."
    random = float(np.sqrt(2 / np.pi / max(side**2 - 1, 1)))
    verdict = "they depend on what was learnt; they show where, not why, and prove no sign of disease"
    if agreement > 0.7:
        verdict = "what they show is mostly the image, not what was learnt"
    elif agreement > random + 0.15:
        verdict = "what they show is in part the image and in part what was learnt"
    found = f"a rank correlation of {fixed(agreement, 2)} in size (1: equal; {fixed(random, 2)}: independent places)"
    text = f"Networks of the same build with random weights draw these {whole(n)} {size} with {found}: {verdict}."
    if empty := int(np.count_nonzero(maps.max(axis=(1, 2)) <= 0)):
        text += f" In {whole(empty)} of {plural(n, 'image')} no place supports the prediction, and none is coloured."
    return text
