"""A short check of how fast this machine trains, beside what other machines reached."""

import time
from dataclasses import dataclass

import numpy as np

from misread.data.image_set import ImageSet
from misread.runs.prepare import prepare
from misread.training.backend import Capabilities
from misread.training.batches import Batches
from misread.training.device import using_threads

RECIPE, IMAGES, STEPS = "fast", 2048, 4  # steps at a time
# images a second of processor time that one thread trains on, by build: a virtual machine on an AMD EPYC with AVX-512
EXPECTED = {"avx512bf16": 23_000, "avx512": 22_000, "avx2": 16_000, "plain": 9_000, "torch": 12_000}
SLOW = 0.4  # the share of the expectation below which a machine counts as slow


@dataclass(frozen=True)
class Speed:
    """Images a second while training with the recipe `fast` on grey images of 28x28, and what is expected.

    one_thread, all_threads: images a second, with one thread and with `threads`.
    expected_one_thread: what a common server's processor reaches with the same build.
    processor_share: the processor time that the check with one thread got, as a share of the time that passed. It is
                well below 1 if other programs use the processor.
    """

    engine: str
    build: str
    precision: str
    threads: int
    one_thread: float
    all_threads: float
    expected_one_thread: float
    processor_share: float

    @property
    def slow(self) -> bool:
        return self.one_thread < SLOW * self.expected_one_thread


def check_speed(threads: int, seconds: float = 1.0) -> Speed:
    """Train on random images for about this many seconds, half of them with one thread."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (IMAGES, 28, 28, 1), dtype=np.uint8), np.arange(IMAGES) % 10
    data = ImageSet.from_arrays(images, labels, test=(images[:10], labels[:10]), name="random images")
    alone, share, capabilities = _images_per_second(data, 1, seconds / 2)
    together = alone if threads == 1 else _images_per_second(data, threads, seconds / 2)[0]
    kind = capabilities.build if capabilities.name == "kernels" else "torch"
    return Speed(
        capabilities.name, capabilities.build, capabilities.precision, threads, alone, together,
        EXPECTED.get(kind, EXPECTED["plain"]), share,
    )  # fmt: skip


def _images_per_second(data: ImageSet, threads: int, seconds: float) -> tuple[float, float, Capabilities]:
    """Images a second, the share of processor time, and what computes."""
    with using_threads(threads):
        job = prepare(data, RECIPE, device="cpu")
        backend = job.backend(0, 0)
        batch = Batches(job.examples()[0], job.recipe, 0).take(0, 0, STEPS)
        rates = [job.recipe.optimizer.learning_rate] * STEPS
        backend.step(batch, rates)  # the first steps are slower: memory is taken
        done, started, computed = 0, time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - started) < seconds:
            backend.step(batch, rates)
            done += len(batch.rows)
        return done / passed, (time.process_time() - computed) / passed / threads, backend.capabilities
