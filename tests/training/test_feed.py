import pytest
import torch

from misread.training import feed as feed_module
from misread.training.augment import augment
from misread.training.feed import Feed
from misread.training.recipe import Augmentation

SPEC = Augmentation(rotation=20, shift=0.1, elastic=0.02, erasing=0.3)


def fed(spec: Augmentation | None, counts: list[int], epochs: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """What a training sees that takes so many images at a time, over and over."""
    images = torch.randint(0, 256, (50, 6, 6, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    feed = Feed(images, torch.arange(50), spec, seed=3)
    seen, labels = [], []
    for epoch in range(epochs):
        feed.begin(torch.randperm(50, generator=torch.Generator().manual_seed(epoch)))
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


def test_an_epoch_has_every_image_once_with_its_label_in_the_order_asked_for() -> None:
    _, labels = fed(SPEC, [32, 32])
    assert torch.equal(labels, torch.randperm(50, generator=torch.Generator().manual_seed(0)))


def test_each_epoch_augments_anew_and_labels_follow_their_images() -> None:
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].repeat(1, 4, 4, 1) * 50  # of one brightness each
    images[:, 1, 1] = 255
    feed = Feed(images, torch.arange(5), Augmentation(shift=0.4), seed=0)
    epochs = []
    for _ in range(2):
        feed.begin(torch.tensor([4, 2, 0, 1, 3]))
        shown, labels, rows = feed.take(5)
        assert labels[rows].tolist() == [4, 2, 0, 1, 3]
        assert (shown[rows].flatten(1).amin(1) == labels[rows] * 50).all()
        epochs.append(shown)
    assert not torch.equal(*epochs)


def test_without_augmentation_images_are_not_copied() -> None:
    images, labels = torch.zeros(9, 2, 2, 1, dtype=torch.uint8), torch.arange(9)
    feed = Feed(images, labels, None, seed=0)
    feed.begin(torch.arange(9).flip(0))
    shown, of, rows = feed.take(4)
    assert shown is images
    assert of is labels
    assert rows.tolist() == [8, 7, 6, 5]


def test_the_seed_is_that_of_augment_itself() -> None:
    images = torch.randint(0, 256, (9, 6, 6, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    feed = Feed(images, torch.arange(9), SPEC, seed=7)
    feed.begin(torch.arange(9))
    assert torch.equal(feed.take(9)[0], augment(images, SPEC, torch.Generator().manual_seed(7)))
