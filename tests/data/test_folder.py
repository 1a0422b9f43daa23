from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread.data.picture import read_picture
from misread.errors import DataError


def save(path: Path, pixels: np.ndarray, **settings: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **settings)  # type: ignore[arg-type]
    return path


def grey(value: int, height: int = 6, width: int = 4) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def class_folders(root: Path, names: tuple[str, ...] = ("cat", "dog"), count: int = 5) -> Path:
    for k, name in enumerate(names):
        for i in range(count):
            save(root / name / f"{i}.png", grey(20 * k + i))
    return root


def test_flat_folders_give_classes_by_name_and_files_by_path(tmp_path: Path) -> None:
    data = misread.load(class_folders(tmp_path))
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (6, 4, 1)
    assert data.carved_test
    everything = data.split("all")
    assert everything.files == tuple(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(5))
    assert everything.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]
    assert everything.labels.tolist() == [0] * 5 + [1] * 5
    # a carved image keeps the row and the file it had
    for split in (data.train, data.test):
        assert [everything.files[r] for r in split.rows] == list(split.files or ())


def test_split_folders_give_the_splits(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        class_folders(tmp_path / split, count=count)
    data = misread.load(tmp_path)
    assert {name: len(s) for name, s in data.splits.items()} == {"train": 8, "val": 4, "test": 6}
    assert not data.carved_test
    assert data.test.files is not None
    assert data.test.files[0] == "test/cat/0.png"


def test_class_folders_named_by_numbers_are_in_numeric_order(tmp_path: Path) -> None:
    names = ("0", "1", "2", "9", "10", "11")
    data = misread.load(class_folders(tmp_path, names))
    assert data.class_names == names


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    class_folders(tmp_path)
    save(tmp_path / ".thumbnails" / "x.png", grey(1))
    save(tmp_path / "cat" / ".hidden.png", grey(1))
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "__MACOSX").mkdir()
    data = misread.load(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert len(data.split("all")) == 10
    assert data.skipped == ()


def test_differing_sizes_name_two_files_unless_a_size_is_given(tmp_path: Path) -> None:
    class_folders(tmp_path)
    save(tmp_path / "dog" / "big.png", grey(7, 12, 8))
    with pytest.raises(DataError, match=r"(?s)cat/0.png is 6x4, dog/big.png is 12x8 .*--size 6x4"):
        misread.load(tmp_path)
    data = misread.load(tmp_path, size=(6, 4))
    assert data.image_shape == (6, 4, 1)
    assert data.split("all").images[-1].tolist() == np.full((6, 4, 1), 7).tolist()


def test_a_corrupt_image_is_skipped_and_reported_and_strict_refuses(tmp_path: Path) -> None:
    class_folders(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (60, 40), dtype=np.uint8)
    cut = save(tmp_path / "cat" / "cut.png", noise)
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / "cat" / "text.png").write_text("no image")
    data = misread.load(tmp_path)
    assert len(data.split("all")) == 10
    assert len(data.skipped) == 2
    assert "cut.png is damaged" in data.skipped[0]
    assert "text.png is not a readable image" in data.skipped[1]
    with pytest.raises(DataError, match=r"(?s)cut.png is damaged.*text.png is not a readable image"):
        misread.load(tmp_path, strict=True)


def test_an_empty_class_is_refused_by_its_path(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "bird").mkdir()
    with pytest.raises(DataError, match="bird has no readable images"):
        misread.load(tmp_path)


def test_an_empty_folder_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no class folders. Put the images of each class"):
        misread.load(tmp_path)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="All train images \\(5\\) have one class, 'cat'"):
        misread.load(class_folders(tmp_path, ("cat",)))


def test_a_class_missing_from_train_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", ("cat", "dog", "bird"))
    with pytest.raises(DataError, match="class folder 'bird', which the train split does not have"):
        misread.load(tmp_path)


def test_a_class_may_be_named_train(tmp_path: Path) -> None:
    assert misread.load(class_folders(tmp_path, ("bus", "train"))).class_names == ("bus", "train")


def test_one_colour_image_makes_the_whole_set_colour(tmp_path: Path) -> None:
    class_folders(tmp_path)
    red = np.zeros((6, 4, 3), np.uint8)
    red[..., 0] = 200
    save(tmp_path / "dog" / "red.png", red)
    data = misread.load(tmp_path)
    assert data.image_shape == (6, 4, 3)
    everything = data.split("all")
    np.testing.assert_array_equal(everything.images[-1], red)
    assert everything.images[1].tolist() == np.full((6, 4, 3), 1).tolist()


# one picture in every way it may have been saved

RAMP = np.arange(24, dtype=np.uint8).reshape(6, 4) * 10


def test_palette_images_are_resolved(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.fromarray(RAMP).convert("P").save(path)
    np.testing.assert_array_equal(read_picture(path)[..., 0], RAMP)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    path = save(tmp_path / "deep.png", (RAMP.astype(np.uint16) * 257))
    with Image.open(path) as image:
        assert image.mode.startswith("I")
    np.testing.assert_array_equal(read_picture(path)[..., 0], RAMP)


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (0, 0, 0, 255)
    path = save(tmp_path / "a.png", rgba)
    assert read_picture(path)[..., 0].tolist() == [[0, 255], [255, 255]]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown upright after a quarter turn clockwise
    path = save(tmp_path / "turned.png", RAMP, exif=exif)
    np.testing.assert_array_equal(read_picture(path)[..., 0], np.rot90(RAMP, -1))


def test_a_grey_picture_saved_as_rgb_is_grey(tmp_path: Path) -> None:
    path = save(tmp_path / "rgb.png", np.repeat(RAMP[..., None], 3, axis=-1))
    assert read_picture(path).shape == (6, 4, 1)
