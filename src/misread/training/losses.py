"""Cross-entropy in its two forms, sparse and one-hot, and the choice between them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from misread.errors import RecipeError
from misread.training.recipe import Loss


def resolve_loss(loss: Loss, one_hot: bool) -> Loss:
    """The loss with `auto` replaced by the form that fits the labels.

    one_hot: the labels are one-hot in the source.
    Raises RecipeError: the recipe asks for the form that does not fit.
    """
    fitting = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    if loss.name == "auto":
        return loss.model_copy(update={"name": fitting})
    if loss.name != fitting:
        found, needed = ("one-hot rows (N, K)", "whole numbers (N,)") if one_hot else (
            "whole numbers (N,)", "one-hot rows (N, K)",
        )  # fmt: skip
        raise RecipeError(
            f"The recipe's loss is {loss.name}, which takes labels as {needed}, but the labels are {found}.\n"
            "Both forms compute the same loss: the sparse one from the class index, the other from a row with a single "
            f"1.\nSet loss.name to {fitting} or auto, or convert the labels."
        )
    return loss


def make_targets(labels: Tensor, loss: Loss, n_classes: int) -> Tensor:
    """The targets of the loss: (N,) int64 for the sparse form, (N, K) float32 for the one-hot form."""
    if loss.name == "categorical_crossentropy":
        return F.one_hot(labels, n_classes).to(torch.float32)
    return labels


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross-entropy of logits (B, K) against targets (B,) int64 or (B, K) float32.

    Source: label smoothing, Szegedy et al. 2016 (arXiv 1512.00567), as in Keras and torch.
    """
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
