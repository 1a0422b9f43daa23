"""Prepares a training: loads data, makes splits, resolves the recipe, and checks the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from misread.data.image_set import ImageSet, Split, build_image_set
from misread.data.label_patch import FixedLabels, LabelPatch, read_patch
from misread.data.load import load
from misread.data.load_progress import Lines
from misread.data.splits import carve
from misread.errors import DataError, RecipeError
from misread.messages import Message
from misread.models.backbone import Backbone
from misread.models.network import network_logits
from misread.training.auto_recipe import LESSON, pick_recipe
from misread.training.backend import Backend
from misread.training.batches import Examples, scaled_size
from misread.training.choose_backend import make_backend
from misread.training.device import pick_device
from misread.training.losses import resolve_loss
from misread.training.networks import examples_for, frozen_backbone, members, recipe_backbone, recipe_network
from misread.training.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class TrainingSplits:
    """The training and validation images. `validation` describes the latter in words."""

    train: Split
    val: Split
    validation: str
    carved: bool


@dataclass(frozen=True)
class Job:
    """Everything that a training needs.

    recipe:  resolved: it has the loss and the final number of epochs. splits: with fixed labels if there is a patch.
    recipe_choice: why misread chose the recipe; empty if the user did.
    network: on the device. custom_network: it is a module from the user, not built from the recipe's layers.
    """

    data: ImageSet
    recipe: Recipe
    splits: TrainingSplits
    fixed: FixedLabels | None
    network: nn.Module
    custom_network: bool
    device: torch.device
    recipe_choice: str = ""

    @property
    def network_name(self) -> str:
        """`recipe`, or the class of the user's module."""
        return type(self.network).__qualname__ if self.custom_network else "recipe"

    @property
    def weight_bytes(self) -> int:
        """The size of all weights and buffers."""
        return sum(tensor.nbytes for tensor in self.network.state_dict().values())

    @property
    def networks(self) -> list[nn.Module]:
        """The members of an ensemble, or the one network."""
        return [self.network] if self.custom_network else members(self.network)

    def examples(self, lines: Lines | None = None) -> tuple[Examples, Examples]:
        """The training and validation images for the device; their features if the network has a frozen backbone.

        lines: called with lines about the progress of features.
        """
        if backbone := frozen_backbone(self.network):  # whole splits: few images, like a carved part, are not stored
            for split in self.data.splits.values():
                backbone.image_features(split.images, lines)
        train = examples_for(self.network, self.device, self.splits.train, self.recipe.shuffle_window_mib)
        return train, examples_for(self.network, self.device, self.splits.val)

    def backend(self, member: int, seed: int) -> Backend:
        """The backend that trains a member."""
        return make_backend(self.networks[member], self.data.image_shape, self.device, self.recipe, seed)


def prepare(
    data: Any,
    recipe: str | Path | Recipe | None,
    *,
    network: nn.Module | None = None,
    label_patch: str | Path | LabelPatch | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    device: str = "auto",
) -> Job:
    """Resolve and check the arguments of a training; see `train` for these and the errors."""
    chosen = pick_device(device)
    images = as_image_set(data)
    if recipe is None and network is not None:
        recipe = LESSON  # the recipes that are chosen by the images come with networks that fit them
    picked, why = pick_recipe(recipe, images)
    resolved = load_recipe(picked, settings)
    resolved = resolved.model_copy(update={"loss": resolve_loss(resolved.loss, images.one_hot)})
    patch = read_patch(label_patch) if isinstance(label_patch, str | Path) else label_patch
    fixed = patch.fix(images) if patch else None
    splits = training_splits(images, resolved, fixed.data if fixed else None)
    resolved = resolved.for_images(len(splits.train))
    backbone = recipe_backbone(resolved)
    if resolved.backbone and backbone:
        named = resolved.backbone.model_copy(update={"name": backbone.name, "sha256": backbone.sha256})
        resolved = resolved.model_copy(update={"backbone": named})
        backbone.to(chosen)
    checked = _checked_network(network, images, resolved, splits.train, backbone).to(chosen)
    return Job(images, resolved, splits, fixed, checked, network is not None, chosen, why)


def as_image_set(data: Any, quiet: bool = False) -> ImageSet:
    """The image set for the `data` argument of `train`. quiet: show no progress while pictures are decoded.

    Raises DataError: an unsupported type.
    """
    if isinstance(data, ImageSet):
        return data
    if isinstance(data, str | Path):
        return load(data, progress=None) if quiet else load(data)
    if isinstance(data, tuple | list) and len(data) == 2:
        first, second = data
        if isinstance(first, tuple | list) and isinstance(second, tuple | list) and len(first) == len(second) == 2:
            return build_image_set("arrays", {"train": (first[0], first[1]), "test": (second[0], second[1])})
        return build_image_set("arrays", {"train": (first, second)})
    raise DataError(
        f"The data is of type {type(data).__name__}, but must be an image set, a name or path, (images, labels), or "
        "((x_train, y_train), (x_test, y_test))."
    )


def training_splits(data: ImageSet, recipe: Recipe, fixed: ImageSet | None = None) -> TrainingSplits:
    """The training and validation splits, by the recipe's validation setting.

    fixed: the same data with fixed labels, if there is a label patch. The carved split does not depend on it.
    """
    labelled = fixed or data
    if recipe.validation.name == "show-test":
        return TrainingSplits(labelled.train, labelled.test, Message("validation.test"), False)
    if labelled.val is not None:
        return TrainingSplits(labelled.train, labelled.val, Message("validation.own"), False)
    rest, carved = carve(data.train.labels, recipe.validation.fraction, recipe.seed)
    if not len(carved):
        raise DataError(
            f"{data.name} has {len(data.train)} training images, too few to carve a validation split from.\n"
            'Add images, or use a recipe with validation.name = "show-test".'
        )
    validation = Message("validation.carved", share=f"{recipe.validation.fraction:.0%}", seed=str(recipe.seed))
    return TrainingSplits(labelled.train.view(rest), labelled.train.take(carved), validation, True)


def _checked_network(
    network: nn.Module | None, data: ImageSet, recipe: Recipe, train: Split, backbone: Backbone | None
) -> nn.Module:
    if network is None:
        if not recipe.layers:
            raise RecipeError(f"The recipe {recipe.name!r} has no layers. Add layers, or pass a network in Python.")
        return recipe_network(recipe, data.image_shape, data.n_classes, train.images, backbone)
    if backbone:
        raise RecipeError("A backbone and a network from Python exclude each other. Leave one of them out.")
    if recipe.members > 1:
        raise RecipeError(
            f"The recipe {recipe.name!r} has {recipe.members} members, but a network from Python is a single one.\n"
            "Set members to 1, or list the network's layers in the recipe."
        )
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    was_training = network.training
    height, width, channels = data.image_shape
    try:
        for scale in (*recipe.image_scales, 1.0):
            height, width = scaled_size(data.image_shape, scale)
            with torch.no_grad():
                images = torch.zeros(2, height, width, channels, dtype=torch.uint8, device=device)
                logits = network_logits(network.eval(), images)
    except Exception as error:
        raise RecipeError(
            f"The network {type(network).__name__} failed for a batch of (2, {channels}, {height}, {width}) float32: "
            f"{error}\nChange its layers to fit these images."
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(logits, Tensor) or logits.shape != (2, data.n_classes):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise RecipeError(
            f"The network {type(network).__name__} gives {found} for two images, but must give logits "
            f"(2, {data.n_classes}), one for each class."
        )
    return network
