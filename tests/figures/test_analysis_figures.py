"""The pictures of the analysis: everything readable, nothing covered, nothing left out."""

import numpy as np
import pytest
from matplotlib.text import Text
from scipy.special import softmax
from test_figures import overlapping, table

from misread import Predictions
from misread.figures.comparison import comparison_figure
from misread.figures.gallery import Section, sections_figure
from misread.figures.style import MAX_PIXELS, Picture
from misread.runs.comparison import Comparison


def made_up(n: int, k: int, name: str = "{}", seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    probs = softmax(2 * rng.normal(size=(n, k)) + 7 * np.eye(k)[labels], axis=1)
    return Predictions(labels, probs, [name.format(i) for i in range(k)], name="a model on data")


def all_texts_apart(picture: Picture) -> bool:
    """No text of any kind, names of ticks and axes included, covers another or leaves the picture."""
    renderer = picture.canvas.get_renderer()  # type: ignore[attr-defined]
    picture.canvas.draw()
    texts = [*picture.texts, *(t for axes in picture.axes for t in axes.texts)]
    for axes in picture.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
        texts += [t for t in axes.get_xticklabels() if left <= t.get_position()[0] <= right]
        texts += [t for t in axes.get_yticklabels() if low <= t.get_position()[1] <= high]
    shown = [t for t in texts if t.get_text() and t.get_visible()]
    boxes = np.array([t.get_window_extent(renderer).extents for t in shown])
    width, height = picture.bbox.width, picture.bbox.height
    inside = (boxes[:, :2] >= -1).all() and (boxes[:, 2] <= width + 1).all() and (boxes[:, 3] <= height + 1).all()
    a, b = boxes[:, None], boxes[None]
    cover = ((a[..., :2] + 0.5 < b[..., 2:]) & (b[..., :2] + 0.5 < a[..., 2:])).all(axis=-1)
    return bool(inside and not np.triu(cover, 1).any())


@pytest.mark.parametrize(
    ("k", "name"), [(2, "{}"), (10, "{}"), (10, "a rather long name {}"), (40, "{}"), (100, "n{}")]
)
def test_every_count_of_the_confusion_matrix_is_there_and_stands_alone(k: int, name: str) -> None:
    found = made_up(3000, k, name)
    picture = found.confusion().figure()
    counts = found.confusion().counts
    written = sorted(int(t.get_text().replace(",", "")) for t in picture.axes[0].texts)
    assert written == sorted(counts[counts > 0].tolist())
    assert min(t.get_fontsize() for t in picture.axes[0].texts) >= 5
    assert (picture.axes[0].get_ylabel(), picture.axes[0].get_xlabel()) == ("True class", "Predicted class")
    assert all_texts_apart(picture)


def test_mistakes_are_shaded_by_their_share_of_the_true_class_and_the_diagonal_is_plain() -> None:
    # ant: 3 of 100 as bee; bee: 3 of 10 as ant, which is ten times the share
    labels = [0] * 100 + [1] * 10 + [2] * 5
    read = np.array([0] * 97 + [1] * 3 + [1] * 7 + [0] * 3 + [2] * 5)
    picture = Predictions(labels, np.eye(3)[read], ["ant", "bee", "cow"]).confusion().figure()
    shades = np.asarray(picture.axes[0].images[0].get_array())[..., :3].sum(axis=-1)
    assert shades[1, 0] < shades[0, 1] < shades[0, 2] == 3.0  # darker, lighter, white
    assert len(set(np.diag(shades))) == 1


def test_many_classes_are_shaded_without_numbers() -> None:
    picture = made_up(3000, 300).confusion().figure()
    assert len(picture.axes[0].texts) == 0
    assert max(picture.bbox.width, picture.bbox.height) < 4000


def test_a_matrix_without_mistakes_has_its_counts_and_no_shade() -> None:
    picture = Predictions([0, 1, 1], np.eye(2)[[0, 1, 1]]).confusion().figure()
    assert [(t.get_position(), t.get_text()) for t in picture.axes[0].texts] == [((0.5, 0.5), "1"), ((1.5, 1.5), "2")]
    shades = np.asarray(picture.axes[0].images[0].get_array())[..., :3].sum(axis=-1)
    assert shades[0, 1] == shades[1, 0] == 3.0
    assert all_texts_apart(picture)


def names_in(picture: Picture) -> list[Text]:
    """Every text that has a dollar in it."""
    picture.canvas.draw()
    return [text for text in picture.findobj(Text) if "$" in text.get_text()]


def test_class_names_are_no_formulas_in_any_figure() -> None:
    name = "$\\frac$"  # no valid formula: drawing it as one is an error
    formula = Picture(3, 3)
    formula.text(0.5, 0.5, name)
    with pytest.raises(ValueError, match="frac"):
        formula.png()
    images = np.zeros((4, 8, 8, 1), np.uint8)
    found = Predictions([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]], [name, "b"], images=images)
    found.name = name
    pictures = {
        "misreads": found.misreads.figure(),
        "label issues": found.label_issues().gallery(),
        "comparison": Comparison(found, found, (name, name)).figure(),
        **found.figures(),
    }
    for what, picture in pictures.items():
        assert names_in(picture), what


@pytest.mark.parametrize(("k", "name"), [(2, "{}"), (10, "a rather long name {}"), (100, "{}")])
def test_every_class_has_its_two_bars_and_intervals(k: int, name: str) -> None:
    found = made_up(60 * k, k, name)
    picture = found.per_class().figure()
    left, right = picture.axes
    order = [t.get_text() for t in left.get_yticklabels()]
    by_class = found.per_class().table.set_index("class").loc[order]
    assert [bar.get_width() for bar in left.patches] == pytest.approx((1 - by_class["recall"]).tolist())
    assert [bar.get_width() for bar in right.patches] == pytest.approx((1 - by_class["precision"]).tolist())
    assert (1 - by_class["recall"]).is_monotonic_increasing  # upwards: the worst on top
    segments = right.collections[0].get_segments()
    assert [s[1][0] for s in segments] == pytest.approx((1 - by_class["precision_low"]).tolist())
    assert left.get_xlim() == right.get_xlim()
    assert all_texts_apart(picture)


def test_classes_without_images_or_never_predicted_say_so() -> None:
    picture = Predictions([0, 0, 1], [[0.9, 0.1, 0], [0.8, 0.2, 0], [0.7, 0.3, 0]]).per_class().figure()
    assert [[t.get_text().strip() for t in axes.texts] for axes in picture.axes] == [
        ["no images"], ["never predicted", "never predicted"],
    ]  # fmt: skip


def test_no_picture_is_larger_than_viewers_take() -> None:
    assert Picture(400, 3).bbox.width == pytest.approx(MAX_PIXELS)
    assert Picture(3, 400).bbox.height == pytest.approx(MAX_PIXELS)
    assert Picture(4, 3).bbox.width == 440


def test_the_reliability_diagram_shows_every_bin_with_images_before_and_after() -> None:
    found = made_up(4000, 6)
    calibration = found.calibration()
    picture = calibration.figure()
    assert len(picture.axes) == 4
    assert calibration.scaling is not None
    for axes, table_ in zip(picture.axes[::2], (calibration.table, calibration.scaling.table), strict=True):
        there = table_[table_["n"] > 0]
        _diagonal, points = axes.lines[:2]
        assert points.get_xdata().tolist() == there["confidence"].tolist()
        assert points.get_ydata().tolist() == there["accuracy"].tolist()
        assert f"ECE {(there['n'] / there['n'].sum() * (there['accuracy'] - there['confidence']).abs()).sum():.2%}" in (
            axes.get_title()
        )
    for axes, table_ in zip(picture.axes[1::2], (calibration.table, calibration.scaling.table), strict=True):
        assert [bar.get_height() for bar in axes.patches] == table_["n"][table_["n"] > 0].tolist()
    assert len(Predictions([0, 1], np.eye(2)).calibration().figure().axes) == 2
    assert all_texts_apart(picture)


def test_the_risk_coverage_curve_marks_and_names_the_table() -> None:
    found = made_up(2000, 6)
    picture = found.risk_coverage().figure()
    table_ = found.risk_coverage().table
    (axes,) = picture.axes
    assert axes.lines[1].get_ydata().tolist() == table_["error"].tolist()
    assert [t.get_text() for t in axes.texts] == [f"{e:.2%}" for e in table_["error"]]
    assert axes.lines[0].get_ydata().tolist() == found.risk_coverage().curve["error"].tolist()
    assert axes.lines[0].get_xdata().tolist() == (1 - found.risk_coverage().curve["coverage"]).tolist()
    single = Predictions([0], [[0.9, 0.1]]).risk_coverage().figure()
    assert single.axes[0].lines[0].get_ydata().tolist() == [0]


@pytest.mark.parametrize(("broken", "fixed"), [(0, 0), (3, 0), (1, 40), (16, 16)])
@pytest.mark.parametrize("name", ["4", "a class with a rather long name"])
def test_no_text_of_the_comparison_covers_another(broken: int, fixed: int, name: str) -> None:
    parts = []
    for count in (broken, fixed):
        lines = table([(name, name)] * count).rename(columns={"prediction": "prediction_a"})
        parts.append((lines.assign(prediction_b=name), np.zeros((count, 8, 8, 1), np.uint8), 1000))
    names = ("20261123-224436-tutorial-mlp", "20261123-224441-tutorial-mlp")
    picture = comparison_figure(parts[0], parts[1], names, "test, 10,000 images")
    assert overlapping(picture) == []
    assert len(picture.axes[0].images) == broken + fixed


def test_sections_without_images_say_so() -> None:
    picture = sections_figure([Section([], np.zeros((0, 4, 4, 1)), heading="Broken", empty="Not one.")], "Two models")
    assert [t.get_text() for t in picture.axes[0].texts] == ["Broken", "Not one."]
