"""Whether a training fits into the memory of this machine, told from its recipe before anything is allocated."""

import math

import torch

from misread.data.memory import memory_bytes, size_text
from misread.errors import RecipeError
from misread.models.network import build_network
from misread.models.shapes import Shape
from misread.models.summary import Summary, shape_text, summarise
from misread.training.recipe import Recipe

FLOAT_BYTES = 4
MOMENTS = {"adam": 2, "adamw": 2, "muon": 1, "rmsprop": 1, "sgd": 0}  # values that an optimizer keeps for each weight
NAMED = 5  # members of an ensemble whose memory is large enough to say so


def check_memory(recipe: Recipe, input_shape: Shape, n_classes: int, images: int) -> None:
    """Compare what a training needs at least with the memory of this machine.

    It needs the weights of every member; the gradients and the optimizer's moments of one; and what each layer gives
    for a batch. input_shape: (H, W, C), or (D,) for features. images: for training; with 0, only the weights count.
    Raises RecipeError: it does not fit; the message names the largest layer. Other problems: see `build_network`.
    """
    with torch.device("meta"):  # shapes without memory
        summary = summarise(build_network(recipe.layers, input_shape, n_classes), input_shape)
    weights = summary.parameters * FLOAT_BYTES
    batch = min(recipe.batch_size, images)
    outputs = sum(_output_bytes(summary, batch))
    learning = weights * (1 + MOMENTS[recipe.optimizer.name]) if images else 0
    needed, memory = weights * recipe.members + learning + outputs, memory_bytes()
    if memory is None or needed <= memory:
        return
    parts = [f"{size_text(weights * recipe.members)} for the weights"]
    parts += [f"{size_text(learning)} for their gradients and the optimizer"] if learning else []
    parts += [f"{size_text(outputs)} for a batch of {batch:,} images"] if batch else []
    raise RecipeError(
        f"The recipe {recipe.name!r} needs at least {size_text(needed)} of memory, but this machine has "
        f"{size_text(memory)}: {', '.join(parts)}.\n{_largest(summary, batch)} Make it smaller"
        + (", or lower batch_size." if outputs > weights else ".")
        + (f" It has {recipe.members:,} members; lower this number." if recipe.members > NAMED else "")
    )


def _output_bytes(summary: Summary, batch: int) -> list[int]:
    return [batch * FLOAT_BYTES * math.prod(row.output_shape) for row in summary.layers]


def _largest(summary: Summary, batch: int) -> str:
    """The layer that needs most, in words."""
    sizes = [
        row.parameters * FLOAT_BYTES + outputs
        for row, outputs in zip(summary.layers, _output_bytes(summary, batch), strict=True)
    ]
    row = summary.layers[max(range(len(sizes)), key=sizes.__getitem__)]
    return (
        f"The largest layer is {row.name} ({row.type}), with {row.parameters:,} parameters and the output "
        f"{shape_text(row.output_shape)}."
    )
