"""Export to PyTorch: an ExportedProgram, which runs without misread."""

import io
from pathlib import Path

import numpy as np
import torch
from torch import nn

from misread.lab.classifier import exported_program, quiet_torch
from misread.lab.facts import facts
from misread.lab.formats import EXACT, Format, Predict
from misread.runs.run import Run
from misread.training.batches import as_tensor


def _serialise(run: Run, network: nn.Module) -> bytes:
    program = exported_program(network, run.record.data.image_shape)
    buffer = io.BytesIO()
    with quiet_torch():
        torch.export.save(program, buffer, extra_files=dict(facts(run)))
    return buffer.getvalue()


def _read(path: Path, run: Run) -> Predict:
    with quiet_torch():
        module = torch.export.load(path).module()

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            probs: np.ndarray = module(as_tensor(images, torch.device("cpu"))).numpy()
        return probs

    return predict


FORMAT = Format("model.pt2", EXACT, lambda: None, _serialise, _read)
