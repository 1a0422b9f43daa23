import pytest
import torch

from misread.training import feed as feed_module
from misread.training.augment import augment
from misread.training.feed import Feed
from misread.training.recipe import Augmentation

SPEC = Augmentation(rotation=20, shift=0.1, elastic=0.02, erasing=0.3)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fed(spec: Augmentation | None, counts: list[int], epochs: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """What a training sees that takes so many images at a time, over and over."""
    images = torch.randint(0, 256, (50, 6, 6, 1), dtype=torch.uint8, generator=seeded(0))
    feed = Feed(images, torch.arange(50), torch.arange(50), spec, seed=3)
    seen, labels = [], []
    for _ in range(epochs):
        feed.shuffle()
        for count in counts:
            shown, of, rows = feed.take(count)
            seen.append(shown[rows])
            labels.append(of[rows])
    return torch.cat(seen), torch.cat(labels)


@pytest.mark.parametrize("counts", [[50], [1] * 50, [7, 30, 13], [20, 20, 20]])
@pytest.mark.parametrize("spec", [None, SPEC])
def test_what_is_seen_does_not_depend_on_how_much_is_taken_at_once(
    counts: list[int], spec: Augmentation | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "BLOCK", 8)
    whole, labels = fed(spec, [50], epochs=2)
    parts, of_parts = fed(spec, counts, epochs=2)
    assert torch.equal(whole, parts)
    assert torch.equal(labels, of_parts)


def test_an_epoch_has_every_image_once_in_the_seeds_order_and_augmented_by_its_draws() -> None:
    images = torch.randint(0, 256, (50, 6, 6, 1), dtype=torch.uint8, generator=seeded(0))
    seen, labels = fed(SPEC, [32, 32])
    generator = seeded(3)
    order = torch.randperm(50, generator=generator)
    assert torch.equal(labels, order)
    assert torch.equal(seen, augment(images[order], SPEC, generator))


def test_each_epoch_is_shuffled_and_augmented_anew_and_labels_stay_with_their_images() -> None:
    images = torch.arange(20, dtype=torch.uint8)[:, None, None, None].repeat(1, 4, 4, 1) * 10  # of one brightness each
    images[:, 1, 1] = 255
    feed = Feed(images, torch.arange(20), torch.arange(20), Augmentation(shift=0.4), seed=0)
    epochs = []
    for _ in range(2):
        feed.shuffle()
        shown, labels, rows = feed.take(20)
        assert (shown[rows].flatten(1).amin(1) == labels[rows] * 10).all()
        assert labels[rows].sort().values.tolist() == list(range(20))
        epochs.append((labels[rows].tolist(), shown[rows][labels[rows].argsort()]))
    (first, images_first), (second, images_second) = epochs
    assert first != second
    assert not torch.equal(images_first, images_second)


def test_without_augmentation_images_are_not_copied() -> None:
    images, labels = torch.zeros(9, 2, 2, 1, dtype=torch.uint8), torch.arange(9)
    feed = Feed(images, labels, torch.arange(len(labels)), None, seed=0)
    feed.shuffle()
    shown, of, rows = feed.take(4)
    assert shown is images
    assert of is labels
    assert len(rows) == 4
