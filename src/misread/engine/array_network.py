"""A trained network that predicts by the kernels, from arrays. It imports no torch, which would take longest."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from misread.engine.bare_chain import WEIGHTS, BareChain
from misread.engine.kernel_specs import CONV, UnknownNetwork, Weighted, pieces_of, read_pieces
from misread.engine.library import LayerSpec
from misread.models.layer_specs import LayerSpec as RecipeLayer
from misread.models.shapes import place_layers

UNUSED = ".num_batches_tracked"  # the end of the names of arrays that only PyTorch uses


class ArrayNetwork:
    """The network of a recipe's layers with these weights. Several Python threads may use it.

    image_shape: (H, W, C). weights: by the names of PyTorch's `state_dict`, as in `model.safetensors`.
    Raises UnknownNetwork: the kernels do not know the network, or the weights are of another one.
    RecipeError: as `place_layers`.
    """

    def __init__(
        self,
        layers: Sequence[RecipeLayer],
        image_shape: tuple[int, int, int],
        n_classes: int,
        weights: Mapping[str, np.ndarray],
        threads: int,
    ) -> None:
        specs, weighted = read_pieces(pieces_of(place_layers(layers, image_shape, n_classes)), image_shape)
        shapes = dict(_shapes(specs, weighted))
        used = {name: np.ascontiguousarray(array) for name, array in weights.items() if not name.endswith(UNUSED)}
        if {name: (array.dtype, array.shape) for name, array in used.items()} != {
            name: (np.dtype(np.float32), shape) for name, shape in shapes.items()
        }:
            raise UnknownNetwork("the weights are of another network")
        self._chain = BareChain(specs, weighted, image_shape, threads)
        self._chain.copy(WEIGHTS, lambda name: used[name].ctypes.data if name in used else None, to_engine=True)
        self.build = self._chain.build

    def probs(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 in the training shape -> (N, K) float32, rows sum to 1."""
        images = np.ascontiguousarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != self._chain.image_shape:
            raise ValueError(f"images must be uint8 (N, *{self._chain.image_shape}), not {images.dtype} {images.shape}")
        logits = np.empty((len(images), self._chain.n_classes), np.float32)
        self._chain.predict_at(images.ctypes.data, len(images), logits.ctypes.data)
        return softmax(logits)


def _shapes(specs: Sequence[LayerSpec], weighted: Sequence[Weighted]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The arrays that the kernels need, by name, and their shapes."""
    for spec, (layer, norm) in zip(specs, weighted, strict=True):
        window = (spec.kernel_h, spec.kernel_w) if spec.kind == CONV else ()
        yield f"{layer}.weight", (spec.units, spec.in_c, *window)
        if norm is None:
            yield f"{layer}.bias", (spec.units,)
        else:
            for part in ("weight", "bias", "running_mean", "running_var"):
                yield f"{norm}.{part}", (spec.units,)


LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.693147180369123816490, 1.90821492927058770002e-10
TERMS = 14  # of the series, which leaves an error below 1e-17


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, K) float32 -> (N, K) float32, rows sum to 1; NaN where a row has one.

    It has the same bits on every machine, because it only adds, multiplies and divides in a fixed order; the `exp` of
    numpy and PyTorch depends on the processor.
    """
    with np.errstate(invalid="ignore"):  # NaN, and infinity less infinity
        x = logits.astype(np.float64)
        x = np.maximum(x - x.max(axis=1, keepdims=True), -1000.0)
        doublings = np.nan_to_num(np.rint(x * LOG2_E))
        x = x - doublings * LN2_HIGH - doublings * LN2_LOW  # at most ln(2) / 2 away from 0
        powers = np.ones_like(x)
        for term in range(TERMS, 0, -1):
            powers = powers * x / term + 1.0
        powers = np.ldexp(powers, doublings.astype(np.int32))
        total = np.zeros(len(x))
        for column in powers.T:
            total += column
        return (powers / total[:, None]).astype(np.float32)
