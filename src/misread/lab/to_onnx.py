"""Export to ONNX: one file from uint8 images to probabilities, with everything that is needed to use it as metadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from misread.errors import RunError, needing
from misread.lab.classifier import exported_program, quiet_torch
from misread.lab.facts import facts
from misread.lab.formats import EXACT, Format, Predict
from misread.lab.onnx_file import open_onnx, require_onnx
from misread.lab.predict_script import predict_script
from misread.runs.run import Run
from misread.version import __version__

if TYPE_CHECKING:
    import onnx


def _serialise(run: Run, network: nn.Module) -> bytes:
    import onnx

    from misread.lab import onnx_graph

    data = run.record.data
    if onnx_graph.is_writable(network):
        model = onnx_graph.classifier_graph(network, data.image_shape, len(data.class_names))
    else:
        model = _by_torch(network, data.image_shape)
    model.producer_name, model.producer_version = "misread", __version__
    onnx.helper.set_model_props(model, facts(run))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _by_torch(network: nn.Module, image_shape: tuple[int, int, int]) -> "onnx.ModelProto":
    """The same by torch's exporter, for backbones and modules from Python. Raises RunError: it cannot write them."""
    import torch

    from misread.lab.onnx_graph import INPUT, OPSET, OUTPUT

    with needing("onnx", "This network"):
        import onnxscript  # noqa: F401
    try:
        program = exported_program(network, image_shape)
        with quiet_torch():
            written = torch.onnx.export(
                program, (), input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, dynamo=True, verbose=False
            )
    except Exception as error:  # of any operation that torch or ONNX does not know
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(
            f"torch cannot write this network as ONNX: {reason}\nUse --to torch or --to safetensors."
        ) from error
    if written is None:
        raise AssertionError("unreachable: torch gives a program if it writes no file")
    return written.model_proto


def _read(path: Path, run: Run) -> Predict:
    return open_onnx(path).probs


def _beside() -> Mapping[str, str]:
    return {"predict.py": predict_script()}


FORMAT = Format("model.onnx", EXACT, require_onnx, _serialise, _read, _beside)
