"""A small pretrained network with random weights, as a file of torch.export."""

import warnings
from pathlib import Path

import torch
from torch import nn

FEATURES = 24


def small_network(seed: int = 0) -> nn.Module:
    """(B, 3, 12, 12) to (B, 24)."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    ).eval()  # fmt: skip


def export(network: nn.Module, path: Path, dynamic: bool = True) -> Path:
    shapes = ({0: torch.export.Dim.AUTO},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (torch.zeros(2, 3, 12, 12),), dynamic_shapes=shapes)
        torch.export.save(program, path)
    return path
