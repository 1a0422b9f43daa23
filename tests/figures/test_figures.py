from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from misread.figures.duplicates import duplicates_figure
from misread.figures.history import history_figure
from misread.figures.misreads import misreads_figure
from misread.figures.neighbours import neighbours_figure
from misread.figures.style import Picture
from misread.runs.history import History


def table(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["label", "prediction"])


def overlapping(picture: Picture) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other, or a text that leaves the picture."""
    renderer = picture.canvas.get_renderer()  # type: ignore[attr-defined]
    texts = [*picture.texts, *(t for axes in picture.axes for t in axes.texts)]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    bad = [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]
    width, height = picture.bbox.width, picture.bbox.height
    bad += [(a, "(edge)") for a, x in boxes if x.x0 < 0 or x.y0 < 0 or x.x1 > width + 1 or x.y1 > height + 1]
    return bad


def pixels(picture: Picture) -> np.ndarray:
    picture.canvas.draw()
    return np.asarray(picture.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [1, 7, 16, 50, 230])
@pytest.mark.parametrize(
    "pair", [("4", "9"), ("Ankle boot", "T-shirt/top"), ("a class with a rather long name", "another such long name")]
)
def test_no_title_in_the_gallery_covers_another(count: int, pair: tuple[str, str]) -> None:
    picture = misreads_figure(table([pair] * count), np.zeros((count, 28, 28, 1), np.uint8), f"{count} of 999 misread")
    assert overlapping(picture) == []


def test_the_gallery_has_causes_if_they_are_known() -> None:
    known = table([("4", "9"), ("1", "7")]).assign(cause=["ambiguous", "unlike anything in training"])
    picture = misreads_figure(known, np.zeros((2, 8, 8, 1), np.uint8), "2 of 2")
    said = [t.get_text() for t in picture.axes[0].texts]
    assert said[0] == "Label: 4, Prediction: 9\nambiguous"
    assert said[1] == "Label: 1, Prediction: 7\nunlike anything in\ntraining"
    assert overlapping(picture) == []


LONG = "a class with a rather long name that nobody would type twice"


@pytest.mark.parametrize("count", [0, 1, 7, 16])
@pytest.mark.parametrize("name", ["4", "Ankle boot", LONG, "$x_1$"])
def test_neighbours_stand_beside_their_image_and_no_text_covers_another(count: int, name: str) -> None:
    evidence = f"read as {name} 51.0%; nearest training images {name} (10 of 10)"
    misread = pd.DataFrame({"index": 10 + np.arange(count), "label": name, "prediction": name})
    misread = misread.assign(cause="ambiguous", evidence=evidence)
    near = pd.DataFrame({"index": np.repeat(misread["index"], 5), "training_label": name, "distance": 12.345})
    shown = (np.full((n, 8, 8, 1), v, np.uint8) for n, v in ((count, 9), (5 * count, 200)))
    picture = neighbours_figure(misread, next(shown), near, next(shown), f"{count} of 999 misread")
    assert overlapping(picture) == []
    tiles = picture.axes[0].images
    assert [int(t.get_array()[0, 0]) for t in tiles] == [9, 200, 200, 200, 200, 200] * count
    texts = [t.get_text() for t in picture.axes[0].texts]
    assert sum(t.endswith("distance 12.3") for t in texts) == 5 * count
    picture.png()


@pytest.mark.parametrize("count", [0, 1, 5, 24])
@pytest.mark.parametrize("name", ["4", LONG])
def test_duplicates_stand_side_by_side_and_no_text_covers_another(count: int, name: str) -> None:
    image = {"split": "train", "index": 59_999, "file": name if name == LONG else "", "label": name}
    both = {f"{which}_{key}": value for which in ("first", "second") for key, value in image.items()}
    pair = {"kind": "near", "correlation": 0.9971, "conflict": True, **both}
    pairs = pd.DataFrame([pair] * count, columns=list(pair))
    images = np.zeros((count, 8, 8, 1), np.uint8)
    picture = duplicates_figure(pairs, images, images, f"{count} of {count} pairs of duplicates in {name}")
    assert overlapping(picture) == []
    assert len(picture.axes[0].images) == 2 * count
    if count and name == "4":
        assert [t.get_text() for t in picture.axes[0].texts][1:4] == [
            "correlation 0.9971", "train 59,999\nLabel: 4", "train 59,999\nLabel: 4",
        ]  # fmt: skip


def test_each_tile_is_titled_with_its_label_and_prediction() -> None:
    picture = misreads_figure(table([("4", "9"), ("1", "7")]), np.zeros((2, 8, 8, 1), np.uint8), "2 of 2")
    assert [t.get_text() for t in picture.axes[0].texts] == ["Label: 4, Prediction: 9", "Label: 1, Prediction: 7"]


def test_names_are_shown_as_they_are_not_as_formulas() -> None:
    picture = misreads_figure(table([("$x_1$", "a$b")]), np.zeros((1, 8, 8, 1), np.uint8), "1 of 1")
    (title,) = picture.axes[0].texts
    assert title.get_text() == "Label: $x_1$\nPrediction: a$b"
    width = title.get_window_extent().width
    title.set_text(title.get_text().replace("$", "S"))  # nearly as wide; a formula's x₁ would be much narrower
    assert width == pytest.approx(title.get_window_extent().width, rel=0.03)


def test_images_are_crisp_bright_and_in_their_colours() -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 0] = (255, 0, 0)
    image[0, 1, 1] = (0, 0, 255)
    seen = pixels(misreads_figure(table([("a", "b")]), image, "1 of 1"))
    colours, counts = np.unique(seen.reshape(-1, 3), axis=0, return_counts=True)
    big = {tuple(map(int, c)) for c, n in zip(colours, counts, strict=True) if n > 3000}
    assert big == {(255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)}  # no blurred in-betweens


def rows(epochs: int) -> History:
    return History.of(
        [
            {"epoch": e, "loss": 1 / e, "accuracy": 1 - 1 / e, "val_loss": 1.2 / e, "val_accuracy": 0.9, "seconds": 1.0}
            for e in range(1, epochs + 1)
        ],
        title="own on blocks",
    )


@pytest.mark.parametrize("epochs", [0, 1, 2, 10, 200])
def test_the_history_has_loss_and_accuracy_in_panels_of_their_own(epochs: int) -> None:
    picture = rows(epochs).plot()
    loss, accuracy = picture.axes
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        train, val = axes.get_lines()
        assert train.get_label() == f"{name} (train)"
        assert str(val.get_label()).startswith(f"val_{name}")
        assert len(train.get_xdata()) == epochs
        assert axes.get_legend() is not None
        assert axes.get_xlabel() == "Epoch"
        assert train.get_ydata().tolist() == [
            {"loss": 1 / e, "accuracy": 1 - 1 / e}[name] for e in range(1, epochs + 1)
        ]
        assert [t.get_text() for t in axes.texts] == ([] if epochs else ["no whole epoch"])
    assert overlapping(picture) == []


def test_the_title_of_a_history_is_no_formula() -> None:
    picture = history_figure(rows(2), title="$\\frac$")  # no valid formula: drawing it as one is an error
    picture.canvas.draw()
    assert picture.get_suptitle() == "$\\frac$"


def test_history_is_a_data_frame_and_stays_usable_as_one() -> None:
    history = rows(5)
    assert history.loc[history["epoch"] > 3, "loss"].tolist() == [1 / 4, 1 / 5]
    assert isinstance(history_figure(history), Picture)


def test_a_picture_is_saved_whole_as_png_or_svg_and_shown_by_notebooks(tmp_path: Path) -> None:
    picture = rows(3).plot()
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        picture.save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(ValueError, match="not supported"):
        picture.save(tmp_path / "a.doc")
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.svg"]
