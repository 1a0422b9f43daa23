"""A network in the compiled kernels, by the addresses of its arrays alone. It imports no torch."""

import ctypes
import threading
from collections.abc import Callable, Sequence

from misread.engine.kernel_specs import UnknownNetwork, Weighted
from misread.engine.library import Hyper, LayerSpec, build_name, load_library, why_unavailable
from misread.errors import MisreadError
from misread.messages import Message

PREDICT_BATCH = 128  # images that a thread predicts at once: more exceed its caches, fewer read all weights more often
MOST_AT_ONCE = 2048  # images that all threads predict at once: their activations are in memory
MAX_THREADS, MAX_BATCH = 64, 65_535  # as in kernels/abi.h
WEIGHTS, FIRST_MOMENTS, SECOND_MOMENTS = 0, 1, 2


class BareChain:
    """The kernels' memory for a network, and their calls. `Chain` has tensors over it, `ArrayNetwork` arrays.

    specs, weighted: as `read_pieces` gives them. image_shape: of one image, (H, W, C). All else: as in `Chain`.
    Raises UnknownNetwork: there are no compiled kernels here, or they cannot hold this network or these settings.
    """

    def __init__(
        self,
        specs: Sequence[LayerSpec],
        weighted: Sequence[Weighted],
        image_shape: tuple[int, int, int],
        threads: int,
        *,
        batch_size: int | None = None,
        training: Hyper | None = None,
        mixed: bool = False,
        dropout_key: int = 0,
    ) -> None:
        library = load_library()
        if library is None:
            raise UnknownNetwork(why_unavailable())
        self.threads = min(threads, MAX_THREADS)
        if batch_size is None:
            batch_size = min(PREDICT_BATCH * self.threads, MOST_AT_ONCE)
        if batch_size > MAX_BATCH:
            raise UnknownNetwork(Message("engine.batch", size=batch_size, most=MAX_BATCH))
        self._library, self.image_shape, self.build = library, image_shape, build_name() or ""
        self._weighted = weighted
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

    def __del__(self) -> None:
        if engine := getattr(self, "_engine", None):
            self._library.engine_free(engine)

    def copy(self, which: int, address: Callable[[str], int | None], *, to_engine: bool) -> None:
        """Copy between the engine's layout and arrays (float32, contiguous, in PyTorch's layout).

        which: WEIGHTS or a kind of moments. address: of the array with this name; None leaves it out.
        """

        def addresses(layer: str, *parts: str) -> list[int | None]:
            return [address(f"{layer}.{part}") for part in parts]

        with self._lock:
            for index, (layer, norm) in enumerate(self._weighted):
                self._check(
                    self._library.engine_copy(
                        self._engine, index, which, *addresses(layer, "weight", "bias"), to_engine
                    )
                )
                if norm is not None:
                    parts = addresses(norm, "weight", "bias", "running_mean", "running_var")
                    self._check(self._library.engine_copy_norm(self._engine, index, which, *parts, to_engine))

    def predict_at(self, images: int, count: int, logits: int) -> None:
        """Predict `count` images (H, W, C) uint8 at one address, to float32 logits (count, K) at another."""
        self.run(lambda: self._library.engine_start_prediction(self._engine, images, count, logits))

    def run(self, start: Callable[[], int]) -> None:
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
