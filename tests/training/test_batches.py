import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

from misread.training import batches as batches_module
from misread.training.augment import augment
from misread.training.batches import Batches, Examples, balanced_order, resized
from misread.training.randomness import Purpose, generator, random_key
from misread.training.recipe import Augmentation, Recipe

SPEC = Augmentation(rotation=20, shift=0.1, elastic=0.02, erasing=0.3)
SIZE = 5


def images(n: int = 50) -> torch.Tensor:
    return torch.randint(0, 256, (n, 6, 6, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def batches_of(data: torch.Tensor, spec: Augmentation | None, seed: int = 3, batch_size: int = SIZE) -> Batches:
    rows = torch.arange(len(data))
    return Batches(Examples(data, rows.clone(), rows), Recipe(batch_size=batch_size, augmentation=spec), seed)


def seen(batches: Batches, epoch: int, parts: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The images and labels of these parts of an epoch, each (step, steps)."""
    taken = [batches.take(epoch, step, steps) for step, steps in parts]
    return torch.cat([b.images[b.rows] for b in taken]), torch.cat([b.labels[b.rows] for b in taken])


@pytest.mark.parametrize("spec", [None, SPEC])
@pytest.mark.parametrize("steps", [[1] * 10, [2, 5, 3], [9, 1]])
def test_a_step_is_the_same_however_many_steps_are_taken_at_once(
    steps: list[int], spec: Augmentation | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "AUGMENTATION_BLOCK", 8)
    starts = [sum(steps[:i]) for i in range(len(steps))]
    whole = seen(batches_of(images(), spec), 1, [(0, 10)])
    in_parts = seen(batches_of(images(), spec), 1, list(zip(starts, steps, strict=True)))
    assert torch.equal(whole[0], in_parts[0])
    assert torch.equal(whole[1], in_parts[1])


@pytest.mark.parametrize("spec", [None, SPEC])
def test_batches_can_begin_at_any_position(spec: Augmentation | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "AUGMENTATION_BLOCK", 8)
    used = batches_of(images(), spec)
    for epoch in range(3):
        seen(used, epoch, [(0, 10)])
    for epoch, step in ((2, 4), (0, 9), (1, 0)):
        fresh = batches_of(images(), spec)
        for ours, theirs in zip(seen(fresh, epoch, [(step, 1)]), seen(used, epoch, [(step, 1)]), strict=True):
            assert torch.equal(ours, theirs)


def test_an_epoch_has_every_image_once_in_the_order_and_with_the_augmentation_of_the_seed() -> None:
    data = images()
    shown, labels = seen(batches_of(data, SPEC), 2, [(0, 10)])
    order = torch.randperm(50, generator=generator(3, Purpose.ORDER, 2))
    assert torch.equal(labels, order)
    assert torch.equal(shown, augment(data[order], SPEC, generator(3, Purpose.AUGMENTATION, 2, 0)))


def test_each_epoch_is_shuffled_and_augmented_anew_and_labels_stay_with_their_images() -> None:
    data = torch.arange(20, dtype=torch.uint8)[:, None, None, None].repeat(1, 4, 4, 1) * 10  # of one brightness each
    data[:, 1, 1] = 255
    batches = batches_of(data, Augmentation(shift=0.4), seed=0)
    epochs = []
    for epoch in range(2):
        shown, labels = seen(batches, epoch, [(0, 4)])
        assert (shown.flatten(1).amin(1) == labels * 10).all()
        assert labels.sort().values.tolist() == list(range(20))
        epochs.append((labels.tolist(), shown[labels.argsort()]))
    (first, images_first), (second, images_second) = epochs
    assert first != second
    assert not torch.equal(images_first, images_second)


def test_the_last_batch_may_be_short_and_steps_are_counted_across_epochs() -> None:
    batches = batches_of(images(12), None)
    assert batches.steps_per_epoch == 3
    batch = batches.take(2, 1, 2)
    assert (len(batch.rows), batch.size, batch.first_step) == (7, 5, 7)


def test_without_augmentation_images_are_not_copied() -> None:
    data = images(9)
    batch = batches_of(data, None).take(0, 0, 1)
    assert batch.images is data
    assert len(batch.rows) == SIZE


def test_each_image_is_mirrored_in_every_other_epoch() -> None:
    data = images()
    batches, mirrored = batches_of(data, Augmentation(flip=True)), []
    for epoch in range(4):
        shown, labels = seen(batches, epoch, [(0, 10)])
        ours = shown[labels.argsort()]
        same, flipped = (ours == data).flatten(1).all(1), (ours == data.flip(2)).flatten(1).all(1)
        assert (same ^ flipped).all()
        mirrored.append(flipped)
    assert torch.equal(mirrored[0], ~mirrored[1])
    assert torch.equal(mirrored[0], mirrored[2])
    assert 10 < mirrored[0].sum() < 40


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_resized_as_pillow_does(channels: int) -> None:
    pictures = torch.randint(0, 256, (3, 12, 20, channels), dtype=torch.uint8, generator=generator(0, Purpose.ORDER))
    for picture, small in zip(pictures.numpy(), resized(pictures, 0.5).numpy(), strict=True):
        by_pillow = Image.fromarray(picture.squeeze()).resize((10, 6), Image.Resampling.BILINEAR)
        assert np.abs(small.squeeze().astype(int) - np.asarray(by_pillow).astype(int)).max() <= 1
    assert resized(pictures, 1.0) is pictures


@pytest.mark.parametrize("spec", [None, SPEC])
def test_smaller_images_are_those_of_the_full_size_resized(spec: Augmentation | None) -> None:
    batch = batches_of(images(), spec).take(1, 2, 3, scale=0.5)
    whole = batches_of(images(), spec).take(1, 2, 3)
    assert torch.equal(batch.images[batch.rows], resized(whole.images[whole.rows], 0.5))
    assert torch.equal(batch.labels[batch.rows], whole.labels[whole.rows])


def test_balanced_classes_are_drawn_by_scikit_learns_weights_and_their_images_equally_often() -> None:
    labels = torch.tensor([0] * 600 + [2] * 301 + [3] * 90 + [5] * 8 + [6])[torch.randperm(1000)]  # no 1, no 4
    order = balanced_order(labels, 1.0, torch.Generator().manual_seed(0))
    assert len(order) == 1000
    used = order.bincount(minlength=1000)
    classes = labels.unique()
    weights = compute_class_weight("balanced", classes=classes.numpy(), y=labels.numpy())
    for label, weight in zip(classes, weights, strict=True):
        of_class = used[labels == label]
        assert of_class.double().mean() == pytest.approx(weight, abs=1 / len(of_class))
        assert of_class.max() - of_class.min() <= 1


@pytest.mark.parametrize(("balance", "shares"), [(0.0, [0.81, 0.16, 0.03]), (0.5, [9 / 14.7321, 4 / 14.7321])])
def test_the_balance_sets_how_often_a_class_is_drawn(balance: float, shares: list[float]) -> None:
    labels = torch.tensor([0] * 810 + [1] * 160 + [2] * 30)  # roots: 28.46, 12.65, 5.48
    order = balanced_order(labels, balance, torch.Generator().manual_seed(0))
    found = labels[order].bincount() / 1000
    roots = np.array([810, 160, 30]) ** (1 - balance)
    np.testing.assert_allclose(found, roots / roots.sum(), atol=0.001)
    np.testing.assert_allclose(found[: len(shares)], shares, atol=0.012)


@pytest.mark.parametrize("spec", [None, SPEC])
def test_balanced_epochs_depend_only_on_seed_and_position(spec: Augmentation | None) -> None:
    data, labels = images(30), torch.tensor([0] * 20 + [1] * 9 + [2])
    recipe = Recipe(batch_size=SIZE, augmentation=spec, class_balance=1)

    def fresh() -> Batches:
        rows = torch.arange(2, 30)  # of a file whose first rows belong to another split
        return Batches(Examples(data, labels, rows), recipe, 3)

    used = fresh()
    epochs = [seen(used, epoch, [(0, 6)]) for epoch in range(3)]
    for label, count in ((0, 9), (1, 10), (2, 9)):
        assert all((shown == label).sum() == count for _, shown in epochs)
    for ours, whole in zip(seen(fresh(), 2, [(4, 1)]), epochs[2], strict=True):
        assert torch.equal(ours, whole[20:25])
    assert not torch.equal(epochs[0][0], epochs[1][0])


def test_keys_of_different_purposes_and_positions_differ() -> None:
    keys = {
        random_key(seed, purpose, *position)
        for seed in (0, 1, 2**32, 2**63 - 1)
        for purpose in Purpose
        for position in ((), (0,), (1,), (0, 0), (0, 1), (1, 0), (2**32,))
    }
    assert len(keys) == 4 * len(Purpose) * 7
    assert all(0 <= key < 2**63 for key in keys)
