"""A network in the engine: trained and applied by the compiled kernels, where they know all of its layers."""

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from misread.engine.kernel_specs import UnknownNetwork, read_network
from misread.engine.library import Hyper, LayerSpec, build_name, load_library, why_unavailable
from misread.errors import MisreadError
from misread.messages import Message

__all__ = ["FIRST_MOMENTS", "SECOND_MOMENTS", "Chain", "UnknownNetwork"]

PREDICT_BATCH = 128  # images that a thread predicts at once: more exceed its caches, fewer read all weights more often
MOST_AT_ONCE = 2048  # images that all threads predict at once: their activations are in memory
MAX_THREADS, MAX_BATCH = 64, 65_535  # as in kernels/abi.h
WEIGHTS, FIRST_MOMENTS, SECOND_MOMENTS = 0, 1, 2


class Chain:
    """A network's weights in the layout of the kernels, and all that training and predicting need beside them.

    network:     convolutions with ReLU, each with or without 2x2 max-pooling, then dense layers with ReLU and dropout.
                 The chain copies its weights and never changes it.
    image_shape: of one image, (H, W, C).
    batch_size:  images of a step; in a prediction, those that all threads have in memory at once. None suits a chain
                 that only predicts.
    training:    the settings of Adam and the loss; None for a chain that only predicts.
    mixed:       take the factors of products in bf16, if this build can: in the convolutions' forward pass and in the
                 gradients of the dense layers' inputs. Sums, weights, moments and the loss are float32.
    dropout_key: together with a step's number it decides what that step drops.

    Its settings, `weights`, both `moments` and the number of the next step are a chain's whole state: a new chain
    that takes them over goes on bit for bit. Several Python threads may use a chain; its calls wait for one another.

    Raises UnknownNetwork: there are no compiled kernels here, they do not know the network or these settings, or its
    arrays do not fit into memory.
    """

    def __init__(
        self,
        network: nn.Module,
        image_shape: tuple[int, int, int],
        *,
        batch_size: int | None = None,
        training: Hyper | None = None,
        mixed: bool = False,
        dropout_key: int = 0,
    ) -> None:
        library = load_library()
        if library is None:
            raise UnknownNetwork(why_unavailable())
        if training is not None and not all(p.requires_grad for p in network.parameters()):
            raise UnknownNetwork(Message("engine.frozen"))
        specs, self._modules = read_network(network, image_shape)
        self.threads = min(torch.get_num_threads(), MAX_THREADS)
        if batch_size is None:
            batch_size = min(PREDICT_BATCH * self.threads, MOST_AT_ONCE)
        if batch_size > MAX_BATCH:
            raise UnknownNetwork(Message("engine.batch", size=batch_size, most=MAX_BATCH))
        self._network = network
        self._names = {module: name for name, module in network.named_modules()}
        self._library, self.image_shape, self.build = library, image_shape, build_name() or ""
        self.n_classes = specs[-1].units
        self.mixed = mixed and bool(library.engine_has_bf16())
        self._lock = threading.Lock()
        engine = ctypes.c_void_p()
        if library.engine_new(
            (LayerSpec * len(specs))(*specs), len(specs), batch_size, self.threads, self.mixed,
            training and ctypes.byref(training), dropout_key % 2**32, ctypes.byref(engine),
        ):  # fmt: skip
            raise UnknownNetwork(library.engine_error().decode())
        self._engine = engine
        self.load_weights({name: tensor.detach() for name, tensor in network.state_dict().items()})

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            self._library.engine_free(engine)

    def train(
        self, images: Tensor, labels: Tensor, rows: Tensor, rates: Sequence[float], first_step: int
    ) -> tuple[np.ndarray, int]:
        """Take one step for each learning rate, each on the next batch of rows.

        images (N, H, W, C) uint8, labels (N,) int64, rows (n,) int64: all contiguous, on the CPU.
        first_step: how many steps were taken before; Adam's bias correction and dropout depend on it.
        Returns each step's mean loss, float64, and how many images were classified rightly as they were met.
        Raises ValueError: the arguments do not fit one another, the network or this form. No step is taken then.
        """
        losses, correct = np.zeros(len(rates)), np.zeros(1, np.int64)
        learning_rates = np.asarray(rates, np.float64)
        addresses = (
            _address("images", images, torch.uint8, (None, *self.image_shape)), len(images),
            _address("labels", labels, torch.int64, (len(images),)),
            _address("rows", rows, torch.int64, (None,)), len(rows),
            learning_rates.ctypes.data, len(rates), first_step, losses.ctypes.data, correct.ctypes.data,
        )  # fmt: skip
        self._run(lambda: self._library.engine_start_training(self._engine, *addresses))
        return losses, int(correct[0])

    def predict(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> logits (N, K) float32. An image's logits do not depend on those beside it.

        Raises ValueError: images of another shape, dtype or device.
        """
        images = images.contiguous()
        address = _address("images", images, torch.uint8, (None, *self.image_shape))
        logits = torch.empty(len(images), self.n_classes)
        self._run(lambda: self._library.engine_start_prediction(self._engine, address, len(images), logits.data_ptr()))
        return logits

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights and buffers, by the names and in the order of the network's `state_dict`."""
        read = {
            name: tensor.detach().clone(memory_format=torch.contiguous_format)
            for name, tensor in self._network.state_dict().items()
        }
        self._transfer(WEIGHTS, read, to_engine=False)
        return read

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights and buffers under the names of `weights()`.

        Raises ValueError: one is missing, or has another shape, dtype or device than the network's.
        """
        self._load(WEIGHTS, weights, {name: tensor.shape for name, tensor in self._network.state_dict().items()})

    def moments(self, which: int) -> dict[str, Tensor]:
        """Copies of Adam's FIRST_MOMENTS or SECOND_MOMENTS, by the names of the parameters.

        Raises ValueError: the chain only predicts.
        """
        read = {name: torch.empty(parameter.shape) for name, parameter in self._network.named_parameters()}
        self._transfer(which, read, to_engine=False)
        return read

    def load_moments(self, which: int, moments: Mapping[str, Tensor]) -> None:
        """Take over moments under the names of `moments()`.

        Raises ValueError: as `load_weights`, or the chain only predicts.
        """
        self._load(which, moments, {name: parameter.shape for name, parameter in self._network.named_parameters()})

    def _load(self, which: int, tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
        if missing := ", ".join(name for name in shapes if name not in tensors):
            raise ValueError(f"no tensors for {missing}")
        given = {name: tensors[name].contiguous() for name in shapes}
        for name, tensor in given.items():
            if not name.endswith(".num_batches_tracked"):  # which is PyTorch's alone
                _address(name, tensor, torch.float32, tuple(shapes[name]))
        self._transfer(which, given, to_engine=True)

    def _transfer(self, which: int, tensors: Mapping[str, Tensor], *, to_engine: bool) -> None:
        """Copy between the engine's layout and tensors (float32, contiguous, in PyTorch's layout) by their names."""

        def address(module: nn.Module | None, part: str) -> int | None:
            tensor = None if module is None else tensors.get(f"{self._names[module]}.{part}")
            return None if tensor is None else tensor.data_ptr()

        with self._lock:
            for index, (module, norm) in enumerate(self._modules):
                parts = [address(module, part) for part in ("weight", "bias")]
                self._check(self._library.engine_copy(self._engine, index, which, *parts, to_engine))
                if norm is not None:
                    parts = [address(norm, part) for part in ("weight", "bias", "running_mean", "running_var")]
                    self._check(self._library.engine_copy_norm(self._engine, index, which, *parts, to_engine))

    def _run(self, start: Callable[[], int]) -> None:
        """Make one call of the kernels: `start` gives them the arguments, then every thread does its share.

        The threads wait until all of them are there, and meet at barriers after that. If one cannot be started, by an
        error or an interrupt, the others are sent home before any has begun.
        """
        others = [threading.Thread(target=self._work, args=(number,)) for number in range(1, self.threads)]
        with self._lock:
            self._check(start())
            try:
                for thread in others:
                    self._start(thread)
                self._work(0)
            finally:
                self._library.engine_cancel(self._engine)  # without effect once all are there
                for thread in others:
                    if thread.ident is not None:
                        thread.join()

    def _work(self, number: int) -> None:
        self._library.engine_work(self._engine, number)

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError as error:
            raise MisreadError(
                f"{self.threads} threads could not be started ({error}). Use fewer threads, or end other programs."
            ) from error

    def _check(self, status: int) -> None:
        if status:
            raise ValueError(self._library.engine_error().decode())


def _address(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> int:
    """The address of a tensor's memory, after checking that the kernels can read it. None in a shape is any length."""
    fits = len(tensor.shape) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} must be a contiguous tensor on the CPU of {dtype} and shape ({wanted}), "
            f"not {'' if tensor.is_contiguous() else 'a strided one '}on {tensor.device} of {tensor.dtype} "
            f"and shape {tuple(tensor.shape)}"
        )
    return tensor.data_ptr()
