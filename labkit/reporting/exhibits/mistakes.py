"""Mistakes and high losses, to look at: galleries with file names, and what stands out."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from labkit.data.catalog import facts_of
from labkit.evaluation.decide import is_ordinal, mistakes, ranks
from labkit.evaluation.ordinal import Cuts
from labkit.format import fixed, listing, percent, plural, whole
from labkit.reporting.frames import floats
from labkit.reporting.images import Pixels, image_grid
from labkit.reporting.results import StudyResults
from labkit.reporting.show import Exhibit


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


def top_losses_sentence(costly: pd.DataFrame, classes: Sequence[str], tenth: float = 0.1) -> str:
    """The test image with the highest loss, and what share of all loss the highest `tenth` of the images make up."""
    first, losses = costly.iloc[0].to_dict(), floats(costly, "loss")
    some = max(1, round(tenth * len(costly)))
    share = losses[:some].sum() / max(losses.sum(), 1e-12)
    said = f"{first['image_id']} has the highest loss, {fixed(first['loss'], 2)} ({classes[first['label']]}, taken for"
    of_all = f"the {plural(some, 'image')} with the highest loss of {plural(len(costly), 'test image')}"
    return f"{said} {classes[first['prediction']]}); {of_all} make up {percent(share, 0)} of the loss."


def mistakes_sentence(wrong: pd.DataFrame, n: int, classes: Sequence[str]) -> str:
    """How many of `n` test images are wrong, and the most confident of them; `wrong` as `decide.mistakes`."""
    if wrong.empty:
        return f"All {plural(n, 'test image')} are predicted correctly."
    first = wrong.iloc[0].to_dict()
    share = f"{whole(len(wrong))} of {plural(n, 'test image')} ({percent(len(wrong) / n)}) are predicted wrongly"
    if not ranks(wrong):
        return f"{share}."
    if is_ordinal(wrong):
        how = f"predicted grade {fixed(first['grade'], 1)}, {fixed(first['confidence'], 1)} off"
        return f"{share}; the worst is {first['image_id']}, {classes[first['label']]}, {how}."
    sure = sum(value > 0.9 for value in wrong["confidence"])
    of_them = f", {whole(sure)} of them with a probability above {percent(0.9, 0)}" if sure else ""
    how = f"{classes[first['label']]} taken for {classes[first['prediction']]} ({percent(first['confidence'], 0)})"
    return f"{share}{of_them}; the most confident is {first['image_id']}, {how}."


def missed_sentence(test: pd.DataFrame, classes: Sequence[str], label: int) -> str:
    """How much of one class is missed and what it is taken for; `test`: decided."""
    mine = test.loc[(test["label"] == label).fillna(False).to_numpy(bool)]
    missed = mine.loc[mine["prediction"] != label, "prediction"]
    if mine.empty:
        return f"No test image is {classes[label]}."
    if missed.empty:
        return f"All {plural(len(mine), 'test image')} of {classes[label]} are found."
    taken = [f"{classes[int(k)]} ({whole(count)})" for k, count in missed.value_counts(sort=True).items()]
    share = f"{whole(len(missed))} of {plural(len(mine), 'test image')} ({percent(len(missed) / len(mine))})"
    return f"{share} of {classes[label]} are missed: taken for {listing(taken)}."


def errors(results: StudyResults) -> Iterator[Exhibit]:
    """The images that the chosen variant gets wrong: the most confident, the most confused, and the mildest disease."""
    test, classes, name = results.tests[results.chosen], results.classes, f"{results.by_chosen}{results.once}"
    wrong, pixels = mistakes(test), results.pixels
    text = mistakes_sentence(wrong, len(test), classes)
    results.shown.add("failure analysis")
    if wrong.empty or pixels is None:
        yield Exhibit(text=text)
        if len(wrong):
            titles = [title.split("\n") for title in mistake_titles(wrong.head(10), classes)]
            table = pd.DataFrame(titles, columns=["image", "true", "predicted", "how sure"])
            yield Exhibit(table=table, caption=f"The worst mistakes{name}; their pictures: images, a folder of them")
        return
    alt = "Test images in a row, the worst mistake first; above each its file name, true class and prediction."
    figure = mistakes_gallery(wrong.head(5), pixels, classes)
    yield Exhibit(figure=figure, caption=f"The worst mistakes{name}", alt=alt, text=text)
    alt = "Test images in rows, one row for each pair of a true and a predicted class; above each its file name."
    figure, mildest = pairs_gallery(wrong, pixels, classes), 1  # of grades: often the hardest to find
    text = missed_sentence(test, classes, mildest) if facts_of(results.runs[0]["params"]).task == "grades" else ""
    yield Exhibit(figure=figure, caption=f"The most confused pairs{name}", alt=alt, text=text)
