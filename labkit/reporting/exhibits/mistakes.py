"""Mistakes and high losses, to look at: galleries with file names, and what stands out."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from labkit.data.catalog import facts_of
from labkit.evaluation.decide import is_ordinal, mistakes, probabilities_of, ranks
from labkit.evaluation.ordinal import Cuts, grade_cuts
from labkit.format import fixed, listing, percent, plural, whole
from labkit.reporting.frames import floats
from labkit.reporting.images import Pixels, image_grid
from labkit.reporting.labels import wrap
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit
from labkit.reporting.style import COLORS, GREY, new_figure, row_axis, styled


def mistakes_gallery(rows: pd.DataFrame, pixels: Pixels, classes: Sequence[str]) -> Figure:
    """Each row of `evaluation.decide.mistakes` or `top_losses` as an image with its `mistake_titles`."""
    return image_grid(pixels.of(rows["image_id"].tolist()), mistake_titles(rows, classes))


def pairs_gallery(wrong: pd.DataFrame, pixels: Pixels, classes: Sequence[str]) -> Figure:
    """A row of images for each of the three most confused pairs (of equal ones the lower classes first).

    The most confident mistakes come first, with file names.
    """
    names, rows = [], []
    pairs: Any = wrong.groupby([wrong["label"].astype(int), "prediction"])["image_id"]
    for (true, predicted), mine in sorted(pairs, key=lambda pair: -len(pair[1]))[:3]:
        names += mine.tolist()[:5]
        rows += [f"{classes[true]} as {classes[predicted]}\n({whole(len(mine))})"] * len(mine[:5])
    return image_grid(pixels.of(names), names, rows, columns=5)


def mistake_titles(rows: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """File name, true class, the prediction, and its loss where that is known, else its grade or its confidence."""
    if "loss" in rows:
        said = [f"loss {fixed(loss, 2)}" for loss in rows["loss"]]
    elif is_ordinal(rows):
        said = [f"grade {fixed(grade, 1)}" for grade in rows["grade"]]
    else:
        said = [f"confidence {percent(value, 0)}" if ranks(rows) else "" for value in rows["confidence"]]
    return [
        f"{row['image_id']}\n{classes[row['label']]}\nas {classes[row['prediction']]}\n{text}"
        for row, text in zip(rows.to_dict("records"), said, strict=True)
    ]


def cuts_sentence(cuts: Cuts, classes: Sequence[str]) -> str:
    """Where an ordinal run's output turns into the next grade, and what that was fitted on."""
    places = [f"{name} from {fixed(value, 2)}" for name, value in zip(classes[1:], cuts.values, strict=True)]
    how = (
        f"the cuts lie half-way between the grades, since {cuts.reason}"
        if cuts.reason
        else f"the cuts have the best quadratic weighted kappa on {plural(cuts.n, 'validation image')}, each of which "
        "is itself scored with cuts fitted on other groups"
    )
    return f"The network predicts a number: {listing(places)}, below that {classes[0]}; {how}."


def top_losses_sentence(costly: pd.DataFrame, classes: Sequence[str]) -> str:
    """The test image with the highest loss, and what share of all loss the highest tenth of the images make up."""
    first, losses = costly.iloc[0].to_dict(), floats(costly, "loss")
    some = max(1, round(0.1 * len(costly)))
    share = losses[:some].sum() / max(losses.sum(), 1e-12)
    said = f"{first['image_id']} has the highest loss, {fixed(first['loss'], 2)} ({classes[first['label']]}, taken for"
    of_all = f"the {plural(some, 'image')} with the highest loss of {plural(len(costly), 'test image')}"
    return f"{said} {classes[first['prediction']]}); {of_all} make up {percent(share, 0)} of the loss."


def mistakes_sentence(wrong: pd.DataFrame, n: int, classes: Sequence[str]) -> str:
    """How many of `n` test images are wrong, and the most confident of them; `wrong` as `decide.mistakes`."""
    if wrong.empty:
        return f"All {plural(n, 'test image')} are predicted correctly." if n > 1 else "The only test image is right."
    first = wrong.iloc[0].to_dict()
    are = "is" if len(wrong) == 1 else "are"
    share = f"{whole(len(wrong))} of {plural(n, 'test image')} ({percent(len(wrong) / n)}) {are} predicted wrongly"
    share = "The only test image is predicted wrongly" if n == 1 else share
    if not ranks(wrong):
        return f"{share}."
    if is_ordinal(wrong):
        how = f"predicted grade {fixed(first['grade'], 1)}, {fixed(first['confidence'], 1)} off"
        return f"{share}; the worst is {first['image_id']}, {classes[first['label']]}, {how}."
    sure = sum(value > 0.9 for value in wrong["confidence"])
    of_them = f", {whole(sure)} of them with a probability above {percent(0.9, 0)}" if sure else ""
    how = f"{classes[first['label']]} taken for {classes[first['prediction']]} ({percent(first['confidence'], 0)})"
    return f"{share}{of_them}; the most confident is {first['image_id']}, {how}."


def predicted_grades(test: pd.DataFrame) -> np.ndarray:
    """The number (n,) that an ordinal run predicts; of probabilities the mean grade."""
    if is_ordinal(test):
        return test["grade"].to_numpy(float)
    return probabilities_of(test) @ np.arange(test.columns.str.fullmatch(r"p_\d+").sum())


@styled
def grade_strip(test: pd.DataFrame, classes: Sequence[str], cuts: Sequence[float]) -> Figure:
    """The `predicted_grades` of each image, a row for each true grade; dashed: `cuts`, between them what is predicted.

    Dots are right, crosses wrong predictions. Dots are spread over the height of their row.
    """
    labels, grades = test["label"].to_numpy(int), predicted_grades(test)
    rows = labels + np.random.default_rng(0).uniform(-0.32, 0.32, len(labels))
    right, size = labels == test["prediction"].to_numpy(), 4 if len(labels) < 1000 else 2
    fig = new_figure(height=0.75 + 0.36 * len(classes))
    ax = fig.subplots()
    for mine, marker, color in ((right, "o", COLORS[0]), (~right, "x", COLORS[1])):
        ax.plot(grades[mine], rows[mine], marker, color=color, markersize=size, markeredgewidth=1)
    counts = np.bincount(labels, minlength=len(classes))
    row_axis(ax, [f"{k} {wrap(name)} (n = {whole(counts[k])})" for k, name in enumerate(classes)])
    ax.set_xlabel("predicted grade" if is_ordinal(test) else "mean of the grades, weighted by their probabilities")
    ax.set_ylabel("true grade")
    low, high = ax.get_xlim()
    for cut in cuts:
        ax.axvline(cut, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    for number, (start, end) in enumerate(zip([low, *cuts], [*cuts, high], strict=True) if len(cuts) else ()):
        if (width := min(end, high) - max(start, low)) > 0.02 * (high - low):
            ax.text(max(start, low) + width / 2, -0.55, f"{number}", ha="center", va="bottom", fontweight="bold")
    ax.set_xlim(low, high)
    return fig


def mildest_sentence(test: pd.DataFrame, classes: Sequence[str], cuts: Sequence[float]) -> str:
    """How much of grade 1, often the hardest to find, is missed, and where it lies between its neighbours."""
    name, mine = classes[1], test.loc[test["label"] == 1, "prediction"]
    if mine.empty:
        return f"No test image is {name}."
    missed = mine.loc[mine != 1].value_counts()
    taken = listing([f"{classes[int(grade)]} ({whole(count)})" for grade, count in missed.items()])
    share = f"{whole(missed.sum())} of {plural(len(mine), 'test image')} ({percent(missed.sum() / len(mine))})"
    said = f"{share} of {name} are missed" + f": taken for {taken}" * bool(len(missed))
    grades, labels = predicted_grades(test), test["label"].to_numpy(int)
    near = [k for k in range(3) if k in labels]
    middles = listing([f"{fixed(float(np.median(grades[labels == k])), 2)} for {classes[k]}" for k in near])
    where = f"; {name} is predicted from {' to '.join(fixed(cut, 2) for cut in cuts[:2])}" if len(cuts) else ""
    return f"{said}. The median of the predicted grades is {middles}{where}."


def errors(results: StudyResults) -> Iterator[Exhibit]:
    """The images that the chosen variant gets wrong: where grades lie beside their cuts, and the most confused pairs.

    The worst mistakes are shown by `saliency`, with what spoke for them.
    """
    test, classes, name = results.tests[results.chosen], results.classes, f"{results.by_chosen}{results.once}"
    wrong, pixels = mistakes(test), results.pixels
    text = mistakes_sentence(wrong, len(test), classes)
    results.shown.add("failure analysis")
    yield Exhibit(text=text)
    if wrong.empty:
        return
    if facts_of(results.runs[0]["params"]).task == "grades" and ranks(test):
        cuts = grade_cuts(results.firsts[results.chosen]["val"], len(classes)).values if is_ordinal(test) else ()
        caption = "Predicted by true grade: dots are right, crosses wrong"
        caption += "; dashed: the cuts between the grades that are predicted (on top)" if cuts else ""
        alt = f"Strip plot, a row for each of {len(classes)} true grades: the predicted grade (x) of each image."
        text = mildest_sentence(test, classes, cuts)
        yield Exhibit(figure=grade_strip(test, classes, cuts), caption=f"{caption}{name}", alt=alt, text=text)
    if pixels is None:
        titles = [title.split("\n") for title in mistake_titles(wrong.head(10), classes)]
        table = pd.DataFrame(titles, columns=["image", "true", "predicted", "how sure"])
        yield Exhibit(table=table, caption=f"The worst mistakes{name}; their pictures: images, a folder of them")
        return
    if not results.trained:  # without a network there is no `saliency`
        alt = "Test images in a row, the worst mistake first; above each its file name, true class and prediction."
        yield Exhibit(
            figure=mistakes_gallery(wrong.head(5), pixels, classes), caption=f"The worst mistakes{name}", alt=alt
        )
    alt = "Test images in rows, one row for each pair of a true and a predicted class; above each its file name."
    yield Exhibit(figure=pairs_gallery(wrong, pixels, classes), caption=f"The most confused classes{name}", alt=alt)
