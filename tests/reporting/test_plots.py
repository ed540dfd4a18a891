"""Figures: readable (no text over text, none clipped, none tiny), stable in colour, closed after showing."""

import base64
import itertools
import struct
import sys

import numpy as np
import pandas as pd
import pytest
from made_tables import eyes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from labkit.evaluation.calibration import Calibration, calibration
from labkit.evaluation.decide import decide
from labkit.evaluation.ranking import curves
from labkit.evaluation.thresholds import question
from labkit.reporting import show as showing
from labkit.reporting import style
from labkit.reporting.exhibits.blocks import residual_blocks
from labkit.reporting.exhibits.calibration import reliability_diagrams
from labkit.reporting.exhibits.classes import class_histogram
from labkit.reporting.exhibits.confusion import confusion_matrices, is_written, matrix_pages
from labkit.reporting.exhibits.roc import ranking_curves
from labkit.reporting.exhibits.sensitivity import sensitivity_dots
from labkit.reporting.images import image_grid
from labkit.reporting.labels import spread, wrap
from labkit.reporting.learning import learning_curves
from labkit.reporting.style import Palette

RUNS = [
    "resnet18-imagenet",
    "resnet18-scratch",
    "resnet50-imagenet",
    "resnet50-scratch",
    "resnet18-imagenet-no-augmentation",
    "resnet50-imagenet-weighted",
    "resnet152-imagenet",
    "resnet18-frozen-five-epochs",
]
GRADES = ["No DR", "Mild", "Moderate", "Severe", "Proliferative DR"]
CELLS = ["HEM (normal)", "ALL"]
BLOOD = ["basophil", "eosinophil", "erythroblast", "immature granulocyte"]
BLOOD += ["lymphocyte", "monocyte", "neutrophil", "platelet"]


def history(runs: list[str], epochs: int, seeds: int = 1, test: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for place, run in enumerate(runs):
        for seed, epoch in itertools.product(range(seeds), range(1, epochs + 1)):
            learnt = 0.003 if "scratch" in run else (0.08 + 0.02 * (place % 3)) * (1 - np.exp(-epoch / 4))
            row = {"run": run, "seed": seed, "epoch": epoch, "train_accuracy": 0.735 + learnt}
            row["val_accuracy"] = 0.735 + 0.7 * learnt + rng.normal(0, 0.003)
            row |= {
                "train_loss": 0.9 - learnt,
                "val_loss": 1 - learnt,
                "val_qwk": 6 * learnt,
                "chosen": epoch == epochs,
            }
            rows.append(row | ({"test_accuracy": row["val_accuracy"] - 0.01} if test else {}))
    return pd.DataFrame(rows)


def matrix(classes: int, n: int = 7026) -> np.ndarray:
    return np.random.default_rng(0).multinomial(n // classes, np.full(classes, 1 / classes), classes) + np.eye(
        classes, dtype=int
    ) * (n // 3)


def sensitivity(runs: list[str], classes: list[str]) -> pd.DataFrame:
    pairs = itertools.product(runs, enumerate(classes))
    return pd.DataFrame(
        [{"run": run, "class": name, "sensitivity": 0.9 - 0.1 * place, "images": 1082} for run, (place, name) in pairs]
    )


def counts(classes: list[str], splits: int) -> pd.DataFrame:
    names = ["train", "val", "test", "unlabeled"][:splits]
    return pd.DataFrame({name: [20656, *range(2000, 2000 - len(classes) + 1, -1)] for name in names}, index=classes)


def calibrations(runs: list[str]) -> dict[str, Calibration]:
    generator = np.random.default_rng(0)
    table = pd.concat([eyes(generator, 100, "val"), eyes(generator, 100, "test")], ignore_index=True)
    return {run: calibration(decide(table[table["split"] == "test"] if "scratch" in run else table)) for run in runs}


def curve_points(runs: list[str]) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    tests = {run: decide(eyes(generator, 100, skill=1 + place / 4)) for place, run in enumerate(runs)}
    return curves(tests, GRADES, question(GRADES, "grades"))


REFERABLE = "referable disease (grade 2 or worse)"
PIXELS = np.random.default_rng(0).integers(0, 256, (23, 32, 32, 3), dtype=np.uint8)
FIGURES = {
    "histogram of 5 classes": lambda: class_histogram(counts(GRADES, 3)),
    "histogram of 8 classes": lambda: class_histogram(counts(BLOOD, 3)),
    "grid by class": lambda: image_grid(
        PIXELS, titles=[f"{number}_left" for number in range(23)], rows=[GRADES[k // 5] for k in range(23)]
    ),
    "mistakes": lambda: image_grid(PIXELS[:8], ["true Proliferative DR, said No DR (97 %)"] * 8, columns=4),
    "augmentation": lambda: image_grid(PIXELS[:18], ["original", *["augmented"] * 5] * 3, columns=6),
    "curves of 6": lambda: learning_curves(history(RUNS[:6], 12), baseline={"train": 0.7336, "val": 0.7336}),
    "curves of 8 with test": lambda: learning_curves(history(RUNS, 30, test=True), baseline={"test": 0.73}),
    "curves of 1 epoch": lambda: learning_curves(history(RUNS[:3], 1), baseline={"train": 0.7336, "val": 0.7336}),
    "curves of 3 seeds": lambda: learning_curves(history(RUNS[:3], 9, seeds=3)),
    "score": lambda: learning_curves(history(RUNS[:6], 12), quantity="qwk"),
    "sensitivity, 5 classes": lambda: sensitivity_dots(sensitivity(RUNS, GRADES), Palette(RUNS)),
    "sensitivity, 8 classes": lambda: sensitivity_dots(sensitivity(RUNS[:3], BLOOD), Palette(RUNS)),
    "matrix of 5": lambda: confusion_matrices({"a": matrix(5)}, GRADES),
    "matrix of 2": lambda: confusion_matrices({"a": matrix(2)}, CELLS),
    "8 matrices of 5": lambda: confusion_matrices(dict.fromkeys(RUNS, matrix(5)), GRADES),
    "8 matrices of 8": lambda: confusion_matrices(matrix_pages(dict.fromkeys(RUNS, matrix(8)))[0], BLOOD),
    "reliability of 8": lambda: reliability_diagrams(calibrations(RUNS), Palette(RUNS)),
    "ROC of 8, all classes": lambda: ranking_curves(curve_points(RUNS), Palette(RUNS), GRADES),
    "both of 8, one question": lambda: ranking_curves(curve_points(RUNS), Palette(RUNS), [REFERABLE], ["roc", "pr"]),
    "blocks": residual_blocks,
}


def drawn_texts(fig, monkeypatch) -> list[Text]:
    """The Text objects that the renderer is really asked to draw (not ticks outside the axes)."""
    texts = {}
    draw = Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text().strip():
            texts[id(self)] = self
        return draw(self, renderer)

    monkeypatch.setattr(Text, "draw", record)
    FigureCanvasAgg(fig).draw()
    return list(texts.values())


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_clipped_covered_or_tiny_and_the_figure_fits_the_page(name, monkeypatch):
    fig = FIGURES[name]()
    texts = drawn_texts(fig, monkeypatch)
    assert texts
    assert fig.get_figwidth() <= style.WIDTH + 1e-6
    assert fig.get_figheight() <= 9.8
    assert min(text.get_fontsize() for text in texts) >= 7.7  # at 84 %, as on paper, 6.5
    width, height = fig.canvas.get_width_height()
    boxes = [(text.get_text(), Text.get_window_extent(text), text.get_rotation() % 90) for text in texts]
    for text, box, _ in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, f"{text!r} is clipped"
    # The box round slanted text says little about what it covers.
    for (one, box, _), (other, against, _) in itertools.combinations([b for b in boxes if b[2] == 0], 2):
        apart = (
            min(box.x1, against.x1) - max(box.x0, against.x0) < 1
            or min(box.y1, against.y1) - max(box.y0, against.y0) < 1
        )
        assert apart, f"{one!r} and {other!r} overlap"


@pytest.mark.parametrize("classes", [GRADES, BLOOD, CELLS])
def test_numbers_of_small_confusion_matrices_stay_inside_their_cells(classes):
    perfect = {"perfect": np.diag([2342] * len(classes))}
    fig = confusion_matrices(dict.fromkeys(RUNS[:6], matrix(len(classes))) | perfect, classes)
    FigureCanvasAgg(fig).draw()
    for ax in fig.axes:
        cell = ax.get_window_extent().width / len(classes)
        numbers = [text for text in ax.texts if text.get_text()[:1].isdigit()]
        assert {"%" in text.get_text() for text in numbers} == {False}  # the axis says what the two numbers are
        assert all(max(Text.get_window_extent(text).size) < cell for text in numbers)


def test_matrices_that_a_page_cannot_hold_are_shared_out_in_order():
    pages = matrix_pages(dict.fromkeys(RUNS, matrix(8)))
    assert len(pages) > 1 and [name for page in pages for name in page] == list(RUNS)
    assert len(matrix_pages(dict.fromkeys(RUNS, matrix(5)))) == 1


def test_panels_stand_close_and_those_with_none_below_name_their_columns():
    fig = confusion_matrices(dict.fromkeys(RUNS[:5], matrix(5)), GRADES)
    assert [any(label.get_text() for label in ax.get_xticklabels()) for ax in fig.axes] == [False, False, *[True] * 3]
    upper, lower = (fig.axes[place].get_window_extent() for place in (0, 3))
    assert upper.y0 - lower.y1 < 0.7 * fig.dpi and "percent of the row" in fig.get_supxlabel()


@pytest.mark.parametrize(("classes", "heads"), [(GRADES, list("01234")), (CELLS, CELLS)])
def test_the_matrix_of_page_one_is_large_enough_for_the_place_that_it_has_there(classes, heads):
    fig = confusion_matrices({"a": matrix(len(classes))}, classes)
    (ax,), (width, height) = fig.axes, fig.get_size_inches()
    assert width <= 3.46 and height <= 60 / 25.4 and {text.get_fontsize() for text in ax.texts} == {9}
    assert ax.get_window_extent().width / fig.dpi > 1.9 and [one.get_text() for one in ax.get_xticklabels()] == heads


def test_markers_at_nothing_and_all_are_drawn_whole():
    table = sensitivity(RUNS[:3], GRADES).assign(sensitivity=[0, 1] * 7 + [0])
    fig = sensitivity_dots(table, Palette(RUNS))
    FigureCanvasAgg(fig).draw()
    for ax in fig.axes:
        (left, right), unit = ax.get_xlim(), fig.dpi / 72 / ax.get_window_extent().width
        for line in (line for line in ax.lines if line.get_marker() != "None"):
            radius = (line.get_markersize() + line.get_markeredgewidth()) / 2 * unit * (right - left)
            assert left <= min(line.get_xdata()) - radius and max(line.get_xdata()) + radius <= right


def test_figures_do_not_stay_in_pyplots_memory():
    sensitivity_dots(sensitivity(RUNS[:2], GRADES), Palette(RUNS))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_drawing_leaves_the_callers_rcparams_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    residual_blocks()
    assert dict(mpl.rcParams) == before


def line_colors(fig, panel: int = 0) -> set[str]:
    return {line.get_color() for line in fig.axes[panel].lines}


def test_colours_are_the_same_in_every_figure_and_when_a_run_is_missing():
    palette = Palette(RUNS, dashed=[run for run in RUNS if "scratch" in run])
    kept = [RUNS[0], RUNS[3]]
    expected = {palette[run].color for run in kept}
    assert line_colors(learning_curves(history(kept, 3), palette)) == expected
    assert line_colors(sensitivity_dots(sensitivity(kept, GRADES[:1]), palette)) == expected
    assert len(expected) == 2
    assert palette[RUNS[3]].linestyle == "--" and palette[RUNS[0]].linestyle == "-"


def test_every_variant_of_a_study_of_sixteen_looks_different():
    palette = Palette([f"run{number}" for number in range(16)])
    assert len({(palette[name].color, palette[name].marker) for name in palette.names}) == 16


def test_label_colours_have_enough_contrast_on_white():
    palette = Palette(RUNS)
    for name in palette.names:
        ink = palette[name].ink
        rgb = tuple(int(ink[place : place + 2], 16) / 255 for place in (1, 3, 5))
        assert style.contrast_on_white(rgb) >= 4.4


def test_palette_dashes_runs_from_scratch_unless_all_are():
    mixed = Palette("ab", dashed="a")
    assert (mixed["a"].linestyle, mixed["b"].linestyle) == ("--", "-")
    alike = Palette("ab", dashed="ab")
    assert (alike["a"].linestyle, alike["b"].linestyle) == ("-", "-")


def test_curves_draw_the_numbers_they_were_given_and_mark_the_chosen_epoch():
    table = history(["a"], 4).assign(chosen=[False, True, False, False])
    fig = learning_curves(table)
    curve, ring = fig.axes[1].lines
    assert list(curve.get_ydata()) == list(table["val_accuracy"])
    assert list(ring.get_xdata()) == [2]
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["training", "validation"]


def test_curves_without_validation_show_training_and_test_only():
    table = history(["a"], 3, test=True).assign(val_accuracy=np.nan)
    assert [ax.get_title(loc="left") for ax in learning_curves(table).axes] == ["training", "test"]


def test_confusion_cells_hold_count_and_row_percentage_and_empty_rows_are_zero():
    fig = confusion_matrices({"a": np.array([[3, 1], [0, 0]])}, CELLS)
    texts = [text.get_text().replace("\u00a0", " ") for text in fig.axes[0].texts]
    assert texts[:4] == ["3\n75", "1\n25", "0", "0"]


def test_image_grid_keeps_every_pixel():
    fig = image_grid(PIXELS[:2])
    assert [np.array_equal(ax.images[0].get_array(), PIXELS[k]) for k, ax in enumerate(fig.axes)] == [True, True]


def test_histogram_bars_are_shares_of_their_split():
    fig = class_histogram(pd.DataFrame({"train": [30, 10], "test": [0, 0]}, index=CELLS))
    assert [bar.get_width() for bar in fig.axes[0].patches] == [0.75, 0.25]
    assert len(fig.axes) == 1


def test_spread_moves_labels_apart_as_little_as_possible():
    assert spread([0, 10], [2, 2], -100, 100).tolist() == [0, 10]
    assert spread([5, 5], [2, 2], -100, 100).tolist() == [4, 6]
    assert spread([6, 5, 20], [2, 2, 2], 0, 10).tolist() == [6.5, 4.5, 9]
    places = spread(np.zeros(9), np.ones(9), 0, 3)
    assert np.diff(np.sort(places)).min() == pytest.approx(1)


def test_wrap_breaks_names_after_hyphens_and_underscores_and_loses_nothing():
    assert wrap("resnet18-imagenet-no-augmentation") == "resnet18-imagenet-\nno-augmentation"
    assert wrap("a_very_long_name_of_a_run").replace("\n", "") == "a_very_long_name_of_a_run"
    assert wrap("Proliferative DR", 14) == "Proliferative\nDR"
    assert wrap("supercalifragilistic") == "supercalifragilistic"


@pytest.fixture
def displayed(monkeypatch):
    outputs = []
    monkeypatch.setattr(
        showing, "display", lambda data, metadata=None, raw=False: outputs.append((data, metadata or {}))
    )
    return outputs


@pytest.mark.parametrize("alt", ["", "   "])
def test_show_refuses_a_figure_without_alternative_text(alt, displayed):
    with pytest.raises(ValueError, match="alt"):
        showing.show(residual_blocks(), alt=alt)
    assert displayed == []


def test_show_puts_out_a_png_with_alt_and_then_one_escaped_caption(displayed):
    showing.show(residual_blocks(), alt="two blocks", caption="Blocks: 3 < 4")
    (figure, metadata), (caption, about) = displayed
    image = base64.b64decode(figure["image/png"])
    assert image[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">I", image[16:20])[0] == 780  # 5.2 in at 150 dpi
    assert metadata["image/png"]["alt"] == "two blocks"
    assert caption["text/html"] == '<p class="caption mathjax_ignore" data-kind="figure">Blocks: 3 &lt; 4</p>'
    assert about == {"labkit": {"caption": "figure"}}


def test_show_keeps_photographs_as_jpeg_with_their_alternative_text(displayed):
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
    soft = np.stack(
        [np.asarray(Image.fromarray(small).resize((224, 224), Image.Resampling.BICUBIC)) for small in noise]
    )
    showing.show(image_grid(soft, rows=["a"] * 3 + ["b"] * 3), alt="six photographs")
    ((figure, metadata),) = displayed
    assert base64.b64decode(figure["image/jpeg"])[:2] == b"\xff\xd8" and not figure.keys() & {
        "image/png",
        showing.VECTOR,
    }
    assert metadata["image/jpeg"]["alt"] == "six photographs" and metadata["image/jpeg"]["width"] > 100


def test_an_alternative_text_is_short_enough_to_be_listened_to(displayed):
    showing.show(residual_blocks(), alt="A sentence about two blocks. " * 9)
    assert len(displayed[0][1]["image/png"]["alt"]) <= 200 and displayed[0][1]["image/png"]["alt"].endswith(" …")


@pytest.mark.parametrize(("title", "rows"), [("17405_left\nSevere\nas Mild\ngrade 0.7", 1), ("1741_left", 2)])
def test_titles_of_images_are_whole(title, rows):
    images, names = np.zeros((10, 64, 64, 3), np.uint8), [str(place * rows // 10) for place in range(10)]
    figure = image_grid(images, [title] * 10, names)
    figure.draw_without_rendering()
    for ax in figure.axes:
        assert figure.bbox.y0 <= ax.title.get_window_extent().y0 < ax.title.get_window_extent().y1 <= figure.bbox.y1


def test_show_gives_the_same_bytes_for_the_same_figure():
    assert showing.picture(residual_blocks()) == showing.picture(residual_blocks())
    assert showing.vector(residual_blocks()) == showing.vector(residual_blocks())


@pytest.mark.parametrize(("marks", "pixels"), [(2000, False), (2001, True)])
def test_a_drawing_is_shown_as_lines_too_and_thousands_of_marks_as_pixels(marks, pixels, displayed):
    places = np.random.default_rng(0).random((2, marks))
    for draw in ("scatter", "plot"):
        figure = style.new_figure(2)
        getattr(figure.subplots(), draw)(*places)
        showing.show(figure, alt="dots")
        (shown, _) = displayed[-1]
        assert ("<image" in shown[showing.VECTOR]) == pixels and "image/png" in shown


@pytest.mark.parametrize("n", [22, 45, 114])
def test_a_confusion_matrix_of_many_classes_fits_the_page_and_names_some(n):
    figure = confusion_matrices({"a": np.eye(n, dtype=int)}, [f"class {k}" for k in range(n)])
    written = [text.get_text() for text in figure.axes[0].texts if "\n" in text.get_text()]
    named = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert figure.get_size_inches().max() < 9 and bool(written) == (n == 22) == is_written({"a": np.eye(n)})
    assert named[0] == "0 class 0" and len(named) == -(-n // {22: 1, 45: 2, 114: 3}[n])


def test_names_are_drawn_as_they_are_and_letters_without_a_font_are_told(monkeypatch):
    shown = []
    monkeypatch.setattr(showing, "display", lambda data, raw=True, **more: shown.append(data))
    for name in (r"$\frac{1$", "a_b*c*", "\U00012000"):
        showing.show(confusion_matrices({name: np.eye(2, dtype=int)}, [name, "b"]), alt="a matrix")
    assert [showing.NO_FONT in one.get("text/plain", "") for one in shown] == [False, False, False, True]
