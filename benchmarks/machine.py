"""The machine that a measurement ran on, and what it could do at that time. Run as a script it prints JSON."""

import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from misread.runs.record import this_environment
from misread.training.torch_backend import has_fast_bf16

SIDE = 2048  # of the square matrices
COPY_BYTES = 256 * 2**20
TRIALS = 7


def measure_machine() -> dict[str, Any]:
    """Names, versions, the one-minute load average before, and three rates.

    float32_flops, bfloat16_flops: floating-point operations a second in torch's product of two square matrices.
    bfloat16_flops is None on a processor without bf16 products: torch emulates them there, a thousand times slower.
    copy_bytes: bytes a second read and written in copying a large tensor.
    """
    load_average = os.getloadavg()[0]
    return {
        **this_environment(torch.get_num_threads(), "cpu").model_dump(),
        "load_average_before": load_average,
        "float32_flops": matrix_product_rate(torch.float32),
        "bfloat16_flops": matrix_product_rate(torch.bfloat16) if has_fast_bf16(torch.device("cpu")) else None,
        "copy_bytes": copy_rate(),
    }


def matrix_product_rate(dtype: torch.dtype) -> float:
    """Operations a second."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * SIDE**3 / median_seconds(lambda: torch.mm(a, b, out=out))


def copy_rate() -> float:
    """Bytes a second, read and written."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / median_seconds(lambda: target.copy_(source))


def median_seconds(work: Callable[[], object]) -> float:
    work()  # the first time allocates and warms up
    seconds = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    print(json.dumps(measure_machine()))
