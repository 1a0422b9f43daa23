"""Export to safetensors: the weights, with the layers and the class names as metadata."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn

from misread.lab.classifier import copied
from misread.lab.facts import facts
from misread.lab.formats import EXACT, Format, Predict
from misread.models.views import without_views
from misread.runs.run import Run
from misread.training.networks import predictor_network
from misread.training.predict import Predictor


def _serialise(run: Run, network: nn.Module) -> bytes:
    """Weights by the names that the run folder uses. A frozen backbone is not among them; the recipe names it."""
    layers = [layer.model_dump(mode="json") for layer in run.recipe.layers]
    metadata = {"format": "pt", **facts(run), "layers": json.dumps(layers)}
    return save({name: t.contiguous() for name, t in without_views(network).state_dict().items()}, metadata)


def _read(path: Path, run: Run) -> Predict:
    network = copied(without_views(run.network)).cpu()
    for parameter in network.state_dict().values():
        parameter.zero_()  # so that every weight has to come from the file
    network.load_state_dict(load_file(path))
    classifier = predictor_network(network, run.recipe).eval()
    predictor = Predictor(classifier, run.record.data.image_shape, torch.device("cpu"))
    return predictor.probs


FORMAT = Format("model.safetensors", EXACT, lambda: None, _serialise, _read)
