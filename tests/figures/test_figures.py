from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from misread.figures.history import history_figure
from misread.figures.misreads import misreads_figure
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
def test_no_title_on_the_wall_covers_another(count: int, pair: tuple[str, str]) -> None:
    picture = misreads_figure(table([pair] * count), np.zeros((count, 28, 28, 1), np.uint8), f"{count} of 999 misread")
    assert overlapping(picture) == []


def test_each_tile_is_titled_with_its_label_and_prediction() -> None:
    picture = misreads_figure(table([("4", "9"), ("1", "7")]), np.zeros((2, 8, 8, 1), np.uint8), "2 of 2")
    assert [t.get_text() for t in picture.axes[0].texts] == ["Label: 4, Prediction: 9", "Label: 1, Prediction: 7"]


def test_names_are_shown_as_they_are_not_as_formulas() -> None:
    picture = misreads_figure(table([("$x_1$", "a$b")]), np.zeros((1, 8, 8, 1), np.uint8), "1 of 1")
    picture.png()


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
    picture.png()


def test_history_is_a_data_frame_and_stays_usable_as_one() -> None:
    history = rows(5)
    assert history.loc[history["epoch"] > 3, "loss"].tolist() == [1 / 4, 1 / 5]
    assert isinstance(history_figure(history), Picture)


def test_a_picture_is_saved_whole_as_png_or_svg_and_shown_by_notebooks(tmp_path: Path) -> None:
    picture = rows(3).plot()
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        picture.save(tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.svg"]
