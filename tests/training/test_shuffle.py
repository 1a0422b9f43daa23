"""The windows of an epoch: every image once, whole blocks of the file, and the same batches from any position."""

import numpy as np
import pytest
import torch

from misread.data.mapped_images import MappedImages
from misread.training import batches as batches_module
from misread.training import shuffle as shuffle_module
from misread.training.augment import augment
from misread.training.batches import Batches, Examples
from misread.training.randomness import Purpose, generator
from misread.training.recipe import Augmentation, Recipe
from misread.training.shuffle import Shuffle

IMAGE_BYTES = 36
SPEC = Augmentation(rotation=20, shift=0.1, flip=True)
SIZE = 5


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window has 20 images of `IMAGE_BYTES` at most, and a block three."""
    monkeypatch.setattr(shuffle_module, "MIB", 20 * IMAGE_BYTES)
    monkeypatch.setattr(shuffle_module, "BLOCK_BYTES", 3 * IMAGE_BYTES)
    monkeypatch.setattr(shuffle_module, "FEWEST_BLOCKS", 4)


def images(n: int = 70) -> torch.Tensor:
    return torch.randint(0, 256, (n, 6, 6, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def batches_of(data: torch.Tensor, spec: Augmentation | None = None, **settings: object) -> Batches:
    rows = torch.arange(len(data))
    recipe = Recipe.model_validate({"batch_size": SIZE, "augmentation": spec, "shuffle_window_mib": 1, **settings})
    return Batches(Examples(data, rows.clone(), rows), recipe, 3)


def taken(batches: Batches, epoch: int, first: int, stop: int, at_once: int) -> list[tuple[list[int], torch.Tensor]]:
    """The labels and images of each step, taken `at_once` or as many as there are."""
    steps, step = list[tuple[list[int], torch.Tensor]](), first
    while step < stop:
        batch = batches.take(epoch, step, min(at_once, stop - step))
        assert batch.first_step == epoch * batches.steps_per_epoch + step
        for rows in batch.rows.split(batch.size):
            steps.append((batch.labels[rows].tolist(), batch.images[rows]))
            step += 1
    return steps


@pytest.mark.parametrize(("count", "block"), [(70, 3), (70, 7), (61, 4), (21, 2), (41, 1)])
def test_windows_are_cut_from_shuffled_blocks(count: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle_module, "MIB", 20 * IMAGE_BYTES)
    monkeypatch.setattr(shuffle_module, "BLOCK_BYTES", block * IMAGE_BYTES)
    monkeypatch.setattr(shuffle_module, "FEWEST_BLOCKS", 1)
    shuffle = Shuffle(count, IMAGE_BYTES, SIZE, 1, seed=3)
    blocks = [list(range(start, min(start + block, count))) for start in range(0, count, block)]
    order = torch.randperm(len(blocks), generator=generator(3, Purpose.ORDER, 2)).tolist()
    epoch = [position for number in order for position in blocks[number]]
    size = shuffle.window_steps * SIZE
    cut = [sorted(epoch[start : start + size]) for start in range(0, count, size)]
    assert [shuffle.positions(2, window).tolist() for window in range(shuffle.windows)] == cut
    assert max(map(len, cut)) <= 20
    assert min(map(len, cut)) > size - SIZE * shuffle.windows  # windows of equal size, up to a few batches


def test_images_that_fit_into_one_window_are_shuffled_together(small_windows: None) -> None:
    data = images(20)
    shown = taken(batches_of(data), 4, 0, 4, 4)
    order = torch.randperm(20, generator=generator(3, Purpose.ORDER, 4)).tolist()
    assert [label for labels, _ in shown for label in labels] == order
    assert Shuffle(20, IMAGE_BYTES, SIZE, 1, 3).windows == 1
    assert Shuffle(21, IMAGE_BYTES, SIZE, 1, 3).windows == 2


@pytest.mark.parametrize("spec", [None, SPEC])
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_a_step_is_the_same_from_any_position_however_many_are_taken(
    at_once: int, spec: Augmentation | None, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "AUGMENTATION_BLOCK", 8)
    data, used = images(), batches_of(images(), spec)
    epochs = [taken(used, epoch, 0, 14, 3) for epoch in range(2)]
    for epoch in epochs:
        assert sorted(label for labels, _ in epoch for label in labels) == list(range(70))
    assert epochs[0] != epochs[1]
    for epoch, first in ((1, 9), (0, 4), (1, 0)):
        for (labels, shown), (ours, theirs) in zip(
            taken(batches_of(data, spec), epoch, first, 14, at_once), epochs[epoch][first:], strict=True
        ):
            assert labels == ours
            assert torch.equal(shown, theirs)
            assert spec or torch.equal(shown, data[labels])


def test_a_window_is_shuffled_and_augmented_by_numbers_of_its_own(small_windows: None) -> None:
    data, spec = images(), Augmentation(shift=0.3)
    batches = batches_of(data, spec)
    (first, _), *_ = taken(batches, 0, 4, 5, 1)
    order = torch.randperm(20, generator=generator(3, Purpose.ORDER, 0, 1))
    positions = batches.shuffle.positions(0, 1)[order]
    assert first == positions[:SIZE].tolist()
    shown = torch.cat([images for _, images in taken(batches, 0, 4, 8, 4)])
    assert torch.equal(shown, augment(data[positions], spec, generator(3, Purpose.AUGMENTATION, 0, 1, 0)))


def test_only_the_images_of_a_window_are_read(small_windows: None) -> None:
    data = images()
    batch = batches_of(data).take(0, 5, 1)
    assert len(batch.images) == 20
    assert batch.images is not data


def test_windows_of_a_file_that_is_sorted_by_class_have_all_classes() -> None:
    labels = torch.arange(10).repeat_interleave(60_000)
    shuffle = Shuffle(len(labels), 2**10, 100, 64, seed=0)  # 586 MiB of pixels in windows of 64 MiB
    assert shuffle.windows == 10
    for window in range(shuffle.windows):
        counts = labels[shuffle.positions(0, window)].bincount(minlength=10)
        assert counts.min() > 0.2 * counts.sum() / 10


def test_classes_are_balanced_in_every_window(small_windows: None) -> None:
    data = images()
    rows = torch.arange(70)
    recipe = Recipe(batch_size=SIZE, class_balance=1, shuffle_window_mib=1)
    batches = Batches(Examples(data, (rows % 10 == 0).long(), rows), recipe, 3)
    for window in range(3):
        batch = batches.take(0, window * 4, 4)
        counts = batch.labels[batch.rows].bincount(minlength=2)
        if batch.labels.sum():  # the window has an image of the rare class
            assert counts.tolist() == [10, 10]


@pytest.mark.parametrize("rows", [None, np.arange(69, -1, -1)])
def test_windows_of_mapped_images(rows: np.ndarray | None, small_windows: None) -> None:
    data = images()
    own = np.arange(70) if rows is None else rows
    examples = Examples.on(torch.device("cpu"), MappedImages(data.numpy(), rows), own)
    recipe = Recipe(batch_size=SIZE, shuffle_window_mib=1)
    for labels, shown in taken(Batches(examples, recipe, 3), 0, 0, 14, 4):
        assert torch.equal(shown, data[labels])


def test_another_device_gets_windows_and_only_the_images_of_the_split(small_windows: None) -> None:
    device = torch.device("meta")  # has shapes and no contents
    images_of_file, labels = images().numpy(), np.arange(70)
    examples = Examples.on(device, images_of_file, labels, window_mib=1)
    assert (examples.images.device.type, examples.device) == ("cpu", device)
    batch = Batches(examples, Recipe(batch_size=SIZE, shuffle_window_mib=1), 3).take(0, 5, 2)
    assert batch.images.device == batch.labels.device == batch.rows.device == device
    assert (len(batch.images), len(batch.rows)) == (20, 10)
    few = Examples.on(device, MappedImages(images_of_file, np.array([3, 1])), np.array([0, 1]), window_mib=1)
    assert (few.images.device, few.images.shape, len(few.labels)) == (device, (2, 6, 6, 1), 2)
