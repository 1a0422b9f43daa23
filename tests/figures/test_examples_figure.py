import numpy as np
import pytest
from test_figures import overlapping

from misread.figures.examples import augmented_figure, examples_figure


@pytest.mark.parametrize("count", [1, 7, 16])
@pytest.mark.parametrize("name", ["7", "Ankle boot", "a class with a rather long name", "$x_1$"])
def test_every_image_stands_under_its_label(count: int, name: str) -> None:
    picture = examples_figure(np.zeros((count, 8, 8, 1), np.uint8), [name] * count, "blocks train")
    assert [t.get_text().replace("\n", " ") for t in picture.axes[0].texts] == [name] * count
    assert len(picture.axes[0].images) == count
    assert overlapping(picture) == []


@pytest.mark.parametrize("versions", [1, 8])
def test_each_row_is_an_image_and_then_its_versions(versions: int) -> None:
    images = np.stack([np.full((8, 8, 3), v, np.uint8) for v in (10, 20, 30)])
    varied = np.stack([np.stack([image + 1 + v for v in range(versions)]) for image in images])
    picture = augmented_figure(images, varied, ["ant", "bee", "cow"], "blocks train, augmented")
    tiles = picture.axes[0].images
    shown = [(round(t.get_extent()[3]), t.get_extent()[0], int(t.get_array()[0, 0, 0])) for t in tiles]
    rows = [[value for _, _, value in shown if value // 10 == start // 10] for start in (10, 20, 30)]
    assert rows == [[start + v for v in range(versions + 1)] for start in (10, 20, 30)]
    for start in (10, 20, 30):  # side by side, from left to right, on one height
        places = [(top, left) for top, left, value in shown if value // 10 == start // 10]
        assert len({top for top, _ in places}) == 1
        assert [left for _, left in places] == sorted(left for _, left in places)
    titles = [t.get_text() for t in picture.axes[0].texts]
    assert titles[: versions + 1] == ["ant\nas it is", *["ant"] * versions]
    assert overlapping(picture) == []
