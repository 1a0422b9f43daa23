"""Puts the script of an ejected run together: only what its recipe uses.

Functions that have to compute the same numbers as misread are copied from it.
"""

import re
import textwrap
from collections.abc import Sequence
from importlib import resources
from typing import Any

from torch import nn

from misread.lab.eject_data import DataText, splitting
from misread.lab.eject_network import network_text
from misread.lab.source_parts import Part, parts_of, source_of
from misread.models import layers
from misread.models.network import Network, to_input
from misread.models.views import views, without_views
from misread.runs.run import Run
from misread.training import augment, batches, optimizers, randomness
from misread.training.networks import WHITENED_IMAGES, members
from misread.training.recipe import SGD, Adam, AdamW, Augmentation, Cosine, Muon, OneCycle, Recipe, RMSprop
from misread.training.shuffle import in_windows

WIDTH = 120
STANDARD = {  # the names that a script may use, and where they come from
    "csv": "import csv",
    "gzip": "import gzip",
    "math": "import math",
    "sys": "import sys",
    "urllib": "import urllib.request",
    "Iterator": "from collections.abc import Iterator",
    "Sequence": "from collections.abc import Sequence",
    "dataclass": "from dataclasses import dataclass",
    "IntEnum": "from enum import IntEnum",
    "lru_cache": "from functools import lru_cache",
    "Path": "from pathlib import Path",
}
INSTALLED = {
    "np": "import numpy as np",
    "torch": "import torch",
    "F": "import torch.nn.functional as F",
    "Image": "from PIL import Image",
    "ImageOps": "from PIL import ImageOps",
    "load_digits": "from sklearn.datasets import load_digits",
    "Tensor": "from torch import Tensor",
    "nn": "from torch import nn",
}


def script_text(run: Run, data: DataText, name: str) -> str:
    """The script of a run, in ruff's format at 120 columns. name: of its file."""
    import jinja2

    recipe, lines = run.recipe, splitting(data, run)
    network = _member(run)
    layer_text = network_text(network)
    dropout = any(isinstance(m, nn.Dropout) for m in network.modules())
    whitening = isinstance(network[0], layers.Whitening)
    moves_only = recipe.augmentation is not None and not _resamples(recipe.augmentation)
    constants, sources = _copied(
        data=[part for part in data.parts if any(f"{part.__name__}(" in line for line in lines)],
        network=[*layer_text.parts, to_input, *([layers.whitening_weights] if whitening else [])],
        training=_training_parts(recipe, dropout),
        evaluation=[views] if recipe.test_time_augmentation else [],
    )
    values = {
        **sources,
        **_training_values(run),
        "recipe": recipe,
        "data_name": _plain(run.record.data.name),
        "usage": _usage(data, name),
        "honesty": _wrapped(_honesty(run)),
        "threads": run.record.environment.threads,
        "assignments": "\n".join([*_settings(run, data), *(f"{k} = {v!r}" for k, v in constants.items())]),
        "load_data": _load_data(lines),
        "layers": layer_text.lines,
        "residual": layer_text.residual,
        "whitening": whitening,
        "whitened_images": WHITENED_IMAGES,
        "dropout": dropout,
        "augmentation": _augmentation(recipe.augmentation),
        "augment": "_moved_whole_pixels" if moves_only else "augment",
        "predicts": _predicts(recipe),
    }
    template = (resources.files("misread.lab") / "train_script.py.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    text = environment.from_string(template).render(values, imports="IMPORTS")
    text = text.replace("IMPORTS", _imports(text), 1)
    return re.sub(r"\n{4,}", "\n\n\n", text)


def _member(run: Run) -> Network:
    network = run.network
    first = members(without_views(network))[0]
    assert isinstance(first, Network)  # `eject` has checked it
    return first


def _resamples(spec: Augmentation) -> bool:
    return bool(spec.rotation or spec.scale or spec.shear or spec.elastic or spec.erasing)


def _training_parts(recipe: Recipe, dropout: bool) -> list[Part]:
    parts: list[Part] = [randomness.Purpose, randomness.generator]
    if dropout:
        parts.append(randomness.random_key)
    if recipe.class_balance:
        parts.append(batches.balanced_order)
    if recipe.augmentation:
        parts.append(augment.augment if _resamples(recipe.augmentation) else augment._moved_whole_pixels)
    if recipe.image_scales != (1.0,):
        parts.append(batches.resized)
    if isinstance(recipe.optimizer, Muon):
        parts.append(optimizers.orthogonalised)
    return parts


def _training_values(run: Run) -> dict[str, Any]:
    """What the template's training loop depends on."""
    recipe, engine = run.recipe, run.record.engine
    spec, averaging = recipe.optimizer, recipe.weight_averaging
    categorical = recipe.loss.name == "categorical_crossentropy"
    muon = spec if isinstance(spec, Muon) else None
    return {
        "optimizer": _optimizer(recipe),
        "muon": muon is not None,
        "momentum": muon.momentum if muon else 0,
        "betas": (muon.beta_1, muon.beta_2) if muon else (),
        "epsilon": muon.epsilon if muon else 0,
        "schedule": recipe.schedule.name,
        "mixed": engine.name == "torch" and engine.precision == "mixed",
        "augmented": recipe.augmentation is not None,
        "augmentation_block": batches.AUGMENTATION_BLOCK,
        "flip": recipe.augmentation is not None and recipe.augmentation.flip,
        "scaled": recipe.image_scales != (1.0,),
        "counts_steps": recipe.schedule.name != "constant" or recipe.image_scales != (1.0,) or averaging is not None,
        "balance": recipe.class_balance,
        "averaging": averaging.last if averaging else 0,
        "early_stopping": recipe.early_stopping,
        "target_accuracy": recipe.target_accuracy,
        "target": "F.one_hot(target, len(CLASSES)).float()" if categorical else "target",
        "smoothing": f", label_smoothing={recipe.loss.label_smoothing}" if recipe.loss.label_smoothing else "",
        "views": recipe.test_time_augmentation,
    }


def _optimizer(recipe: Recipe) -> str:
    """The optimizer as torch has it. Its fused kernels and update rules are those that misread uses."""
    spec, given = recipe.optimizer, "network.parameters(), lr=RATE"
    match spec:
        case AdamW():
            betas = f"betas=({spec.beta_1}, {spec.beta_2}), eps={spec.epsilon}, weight_decay={spec.weight_decay}"
            return f"torch.optim.AdamW({given}, {betas}, fused=True)"
        case Adam():
            return f"torch.optim.Adam({given}, betas=({spec.beta_1}, {spec.beta_2}), eps={spec.epsilon}, fused=True)"
        case SGD():
            return f"torch.optim.SGD({given}, momentum={spec.momentum}, nesterov={spec.nesterov and spec.momentum > 0})"
        case RMSprop():
            rest = f"alpha={spec.rho}, eps={spec.epsilon}, momentum={spec.momentum}, centered={spec.centered}"
            return f"torch.optim.RMSprop({given}, {rest})"
        case Muon():
            return "Muon(network)"


def _copied(**sections: Sequence[Part]) -> tuple[dict[str, int | float], dict[str, list[str]]]:
    """The constants of all sections' parts, and for each section `NAME_sources`; each part is in one section."""
    constants: dict[str, int | float] = {}
    done: list[Part] = []
    texts: dict[str, list[str]] = {}
    for section, roots in sections.items():
        more, parts = parts_of(roots)
        constants |= more
        texts[f"{section}_sources"] = [source_of(part) for part in parts if part not in done]
        done += parts
    return constants, texts


def _settings(run: Run, data: DataText) -> list[str]:
    recipe = run.recipe
    on_cpu = run.record.environment.device == "cpu"
    lines = ['DEVICE = "cpu"' if on_cpu else 'DEVICE = "cuda" if torch.cuda.is_available() else "cpu"']
    if data.arrays:
        lines.append(f'DATA = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("{data.default}")')
    elif data.argument:
        lines.append(f"DEFAULT = {_text(data.default)}")
        lines.append("DATA = Path(sys.argv[1] if len(sys.argv) > 1 else DEFAULT)")
    lines += [
        _listed("CLASSES", run.record.data.class_names),
        f"SEEDS = {[recipe.member_seed(k) for k in range(recipe.members)]}  # one for each network",
        f"EPOCHS = {_epochs(run)}",
        f"BATCH_SIZE = {recipe.batch_size}",
        f"RATE = {recipe.optimizer.learning_rate}  # the learning rate",
    ]
    if isinstance(recipe.optimizer, Muon):
        lines.append(
            f"ADAM_RATE = {recipe.optimizer.adam_learning_rate}  # of the last layer, biases and normalisation"
        )
    match recipe.schedule:
        case Cosine(warmup=warmup, final_fraction=final):
            lines += [f"WARMUP = {warmup}", f"FINAL_FRACTION = {final}"]
        case OneCycle(peak=peak, start_fraction=start, final_fraction=final):
            lines += [f"PEAK = {peak}", f"START_FRACTION = {start}", f"FINAL_FRACTION = {final}"]
    if recipe.image_scales != (1.0,):
        lines.append(f"IMAGE_SCALES = {recipe.image_scales}  # of the images' side, for equal parts of the training")
    return lines


def _epochs(run: Run) -> int:
    """The epochs of a training by the clock are those that it reached."""
    return run.record.epochs_trained if run.recipe.seconds is not None else run.recipe.epochs


def _load_data(lines: list[str]) -> str:
    head = "def load_data() -> dict[str, tuple[np.ndarray, np.ndarray]]:\n"
    doc = '    """Images and labels of the splits train, val and test."""\n'
    return head + doc + "".join(f"    {line}\n" for line in lines) + "    return data"


def _predicts(recipe: Recipe) -> str:
    networks = "the mean of the networks" if recipe.members > 1 else "of the network"
    return networks + (" over several views of each image" if recipe.test_time_augmentation else "")


def _usage(data: DataText, name: str) -> str:
    if not data.argument:
        return f"    python {name}"
    return f"    python {name} [DATA]     DATA is {data.argument}; without it the script takes the run's"


def _honesty(run: Run) -> str:
    """How close the script comes to the run, in words."""
    record, test = run.record, run.metrics["test"]
    reached = (
        f"The run read {test['accuracy']:.2%} of {test['n']:,} test images right "
        f"({test['accuracy_low']:.2%} to {test['accuracy_high']:.2%}). "
    )
    why = _why_inexact(run)
    if why:
        return (
            f"{reached}This script reaches that accuracy within the spread of seeds, not bit for bit: {'; '.join(why)}."
        )
    env = record.environment
    return (
        f"{reached}PyTorch {env.torch} trained it on {_plain(env.cpu)} ({env.threads} threads). There this script "
        "trains the same weights, bit for bit; other versions and processors may round differently."
    )


def _why_inexact(run: Run) -> list[str]:
    record, why = run.record, []
    if record.engine.name != "torch":
        why.append("misread's compiled kernels trained the run, and they round differently from PyTorch")
    elif "kernels" in record.engine.build:
        why.append("misread's compiled kernels computed some layers, and they round differently from PyTorch's")
    elif record.environment.device != "cpu":
        why.append(f"the run was trained on {record.environment.device}, which adds in no fixed order")
    if in_windows(run.data.train.images.nbytes, run.recipe.shuffle_window_mib):
        why.append("the run shuffled its images in windows, this script shuffles all of them together")
    if run.recipe.seconds is not None:
        why.append("the run's length was a number of seconds, here it is the number of epochs that it reached")
    if record.status != "complete" or (
        record.stopped and not run.recipe.early_stopping and not run.recipe.target_accuracy
    ):
        why.append("the run was ended before its last epoch")
    if record.rate_changes:
        why.append("the learning rate was changed by hand while the run was trained")
    return why


def _imports(text: str) -> str:
    """The imports of the names that a text uses: the standard library's, then the others."""
    groups = []
    for group in (STANDARD, INSTALLED):
        used = [line for name, line in group.items() if re.search(rf"(?<![\w.]){name}(?!\w)", text)]
        lines: dict[str, str] = {}
        for line in used:
            source, _, name = line.partition(" import ")
            lines[source] = f"{lines[source]}, {name}" if name and source in lines else line
        groups.append("\n".join(lines.values()))
    return "\n\n".join(groups)


def _augmentation(spec: Augmentation | None) -> str:
    """The settings of the augmentation as a class with values."""
    if spec is None:
        return ""
    fields = [f"    {name}: {type(value).__name__} = {value}" for name, value in spec.model_dump().items()]
    doc = '    """The largest changes: shares of the side or area, degrees, and the share of erased images."""\n\n'
    return (
        "@dataclass(frozen=True)\nclass Augmentation:\n"
        + doc
        + "\n".join(fields)
        + "\n\n\nAUGMENTATION = Augmentation()"
    )


def _listed(name: str, values: Sequence[str]) -> str:
    texts = [_text(value) for value in values]
    line = f"{name} = [{', '.join(texts)}]"
    return line if len(line) <= WIDTH else f"{name} = [\n" + "".join(f"    {text},\n" for text in texts) + "]"


def _text(value: str) -> str:
    """A string as Python has it, in double quotes where ruff wants them."""
    quoted = repr(value)
    return f'"{quoted[1:-1]}"' if quoted.startswith("'") and '"' not in quoted else quoted


def _plain(text: str) -> str:
    """Text that cannot end or escape a docstring."""
    return "".join(c if c.isprintable() else " " for c in text).replace("\\", "/").replace('"', "'")


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH - 4, break_long_words=False))
