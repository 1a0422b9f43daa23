"""What the kernels refuse, and what happens when their threads cannot start."""

import copy
import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_cases import (
    ADAM,
    BATCH,
    CLASSES,
    CLASSIFY,
    LIBRARY,
    RELU,
    build,
    conv,
    dense,
    network_of,
    pictures,
    training_chain,
)
from torch import Tensor, nn

import misread
from misread.engine.chain import FIRST_MOMENTS, Chain, UnknownNetwork
from misread.engine.library import Hyper, LayerSpec
from misread.models.layer_specs import BatchNormalization, Dense, Dropout, Flatten, MaxPooling2D
from misread.training.device import using_threads

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there are no compiled kernels")

N = 40
MLP = (Flatten(), dense(20), CLASSIFY)
SHAPE = (9, 11, 1)


def one_step(**changed: object) -> tuple[object, ...]:
    """Good arguments of `train`, some of them changed."""
    images, labels = pictures(N, SHAPE)
    good = {"images": images, "labels": labels, "rows": torch.arange(BATCH), "rates": [0.01], "first_step": 0}
    return tuple({**good, **changed}.values())


def labels_with(value: int) -> Tensor:
    labels = pictures(N, SHAPE)[1]
    labels[3] = value
    return labels


def images_of(shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=torch.uint8)


BAD_ARGUMENTS: dict[str, tuple[dict[str, object], str]] = {
    "float images": ({"images": torch.zeros(N, *SHAPE)}, r"images must be .* torch.uint8 .*, not .* torch.float32"),
    "images of another shape": ({"images": images_of((N, 11, 9, 1))}, r"\(any, 9, 11, 1\), not .* \(40, 11, 9, 1\)"),
    "flat images": ({"images": images_of((N, 99))}, r"shape \(any, 9, 11, 1\), not .* \(40, 99\)"),
    "strided images": ({"images": images_of((2 * N, *SHAPE))[::2]}, "not a strided one on cpu"),
    "images elsewhere": ({"images": images_of((N, *SHAPE)).to("meta")}, "on the CPU of .* on meta"),
    "int32 labels": ({"labels": torch.zeros(N, dtype=torch.int32)}, "labels must be .* torch.int64 .* torch.int32"),
    "fewer labels": ({"labels": torch.zeros(N - 1, dtype=torch.int64)}, r"labels must be .* \(40\), not .* \(39,\)"),
    "int32 rows": ({"rows": torch.arange(BATCH, dtype=torch.int32)}, "rows must be .* torch.int64 .* torch.int32"),
    "strided rows": ({"rows": torch.arange(2 * BATCH)[::2]}, "rows must be .* not a strided one"),
    "a row too far": ({"rows": torch.tensor([0, N])}, r"rows\[1\] is 40, but there are 40 images"),
    "a row below": ({"rows": torch.tensor([-1])}, r"rows\[0\] is -1, but there are 40 images"),
    "a label too far": ({"labels": labels_with(CLASSES)}, r"labels\[3\] is 5, but the network has 5 classes"),
    "a label below": ({"labels": labels_with(-1)}, r"labels\[3\] is -1, but the network has 5 classes"),
    "too few rates": ({"rows": torch.arange(BATCH + 1)}, "17 images .* are 2 steps, but there are 1 learning rates"),
    "too many rates": ({"rates": [0.01, 0.01]}, "16 images .* are 1 steps, but there are 2 learning rates"),
    "a negative step": ({"first_step": -1}, "negative counts"),
    "a step too far": ({"first_step": 2**63 - 1}, "more steps than 64 bits can count"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments_of_a_training_are_refused_and_nothing_moves(name: str) -> None:
    changed, message = BAD_ARGUMENTS[name]
    chain = training_chain(network_of(MLP, SHAPE), SHAPE)
    before = chain.weights()
    with pytest.raises(ValueError, match=message):
        chain.train(*one_step(**changed))  # type: ignore[arg-type]
    assert all(torch.equal(tensor, before[key]) for key, tensor in chain.weights().items())
    losses, _ = chain.train(*one_step())  # type: ignore[arg-type]
    assert np.isfinite(losses).all()


def test_the_first_and_last_row_and_label_are_within() -> None:
    labels = labels_with(CLASSES - 1)
    labels[4] = 0
    losses, _ = training_chain(network_of(MLP, SHAPE), SHAPE).train(
        *one_step(labels=labels, rows=torch.tensor([0, N - 1, 3, 4]))  # type: ignore[arg-type]
    )
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    "images", [torch.zeros(3, *SHAPE), images_of((3, 9, 11, 2)), images_of((3, 99))], ids=["float", "colour", "flat"]
)
def test_images_that_cannot_be_predicted_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"images must be a contiguous tensor .* \(any, 9, 11, 1\)"):
        Chain(network_of(MLP, SHAPE), SHAPE).predict(images)


def test_no_images_are_no_steps_whatever_came_before() -> None:
    with using_threads(3):
        chain = training_chain(network_of(MLP, SHAPE), SHAPE)
    chain.train(*one_step())  # type: ignore[arg-type]
    losses, right = chain.train(*one_step(rows=torch.arange(0), rates=[]))  # type: ignore[arg-type]
    assert (losses.shape, right) == ((0,), 0)


def test_a_chain_that_only_predicts_neither_trains_nor_has_moments() -> None:
    chain = Chain(network_of(MLP, SHAPE), SHAPE)
    with pytest.raises(ValueError, match="made to predict only"):
        chain.train(*one_step())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no moments"):
        chain.moments(FIRST_MOMENTS)
    with pytest.raises(ValueError, match="which must be from 0 to 2, not 3"):
        chain.moments(3)


BAD_WEIGHTS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "missing": (lambda w: w.pop("dense.bias"), "no tensors for dense.bias"),
    "another shape": (lambda w: w.update({"dense.bias": torch.zeros(19)}), r"must be .* \(20\), not .* \(19,\)"),
    "another dtype": (lambda w: w.update({"dense.bias": torch.zeros(20).double()}), "torch.float32 .* torch.float64"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_WEIGHTS)
@pytest.mark.parametrize("load", ["weights", "moments"])
def test_weights_and_moments_that_do_not_fit_are_refused(name: str, load: str) -> None:
    change, message = BAD_WEIGHTS[name]
    chain = training_chain(network_of(MLP, SHAPE), SHAPE)
    tensors = chain.weights()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        chain.load_weights(tensors) if load == "weights" else chain.load_moments(FIRST_MOMENTS, tensors)


def test_weights_are_read_whatever_the_networks_memory_format() -> None:
    network, shape = build("conv valid conv same")
    images, labels = pictures(BATCH, shape)
    read = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        chain = training_chain(copy.deepcopy(network).to(memory_format=memory_format), shape)
        chain.train(images, labels, torch.arange(BATCH), [0.01], 0)
        read.append(chain.weights())
    for name, tensor in read[0].items():
        assert torch.equal(read[1][name], tensor), name


def test_dropout_that_float32_rounds_to_1_is_left_to_torch() -> None:
    with pytest.raises(UnknownNetwork, match=r"dropout in float32, which rounds 0.999999999 to 1"):
        training_chain(network_of((Flatten(), dense(20), Dropout(rate=1 - 1e-9), CLASSIFY), SHAPE), SHAPE)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        (Hyper(1 - 1e-9, 0.999, 1e-7, 0.0, 0.0), "beta_1 and beta_2 .* in float32, below 1"),
        (Hyper(0.9, 1 - 1e-9, 1e-7, 0.0, 0.0), "beta_1 and beta_2 .* in float32, below 1"),
        (Hyper(0.9, 0.999, 1e-45, 0.0, 0.0), "epsilon must be at least 1.1"),
    ],
    ids=["beta_1", "beta_2", "epsilon"],
)
def test_settings_that_float32_rounds_to_a_division_by_zero_are_left_to_torch(hyper: Hyper, message: str) -> None:
    with pytest.raises(UnknownNetwork, match=message):
        training_chain(network_of(MLP, SHAPE), SHAPE, hyper)


def test_a_normalisation_whose_epsilon_float32_rounds_to_zero_is_left_to_torch() -> None:
    layers = (Flatten(), Dense(units=8, use_bias=False), BatchNormalization(epsilon=1e-45), RELU, CLASSIFY)
    with pytest.raises(UnknownNetwork, match="a normalisation's epsilon must be at least 1.1"):
        Chain(network_of(layers, SHAPE), SHAPE)


def test_a_training_that_no_machine_can_hold_is_refused_before_it_allocates() -> None:
    layers = (*(layer for _ in range(7) for layer in (conv(1), MaxPooling2D())), Flatten(), CLASSIFY)
    network = network_of(layers, (4000, 4000, 3))
    with pytest.raises(
        UnknownNetwork, match=r"in batches of 65535 images, needs [\d.]+ GB of memory, and this"
    ) as error:
        Chain(network, (4000, 4000, 3), batch_size=65_535, training=ADAM)
    assert 65_535 * 4000 * 4000 * 3 * 4 / 1e9 < gigabytes(error.value) < 65_535 * 4000 * 4000 * 30 * 4 / 1e9


def gigabytes(error: BaseException) -> float:
    return float(str(error).split("needs ")[1].split(" GB")[0])


def new_engine(*specs: LayerSpec, batch: int = 16, threads: int = 1) -> tuple[int, str]:
    """What `engine_new` returns for a training, and the reason."""
    assert LIBRARY is not None
    engine = ctypes.c_void_p()
    status = LIBRARY.engine_new(
        (LayerSpec * len(specs))(*specs), len(specs), batch, threads, False, ctypes.byref(ADAM), 0, ctypes.byref(engine)
    )
    assert (engine.value is None) == bool(status)
    LIBRARY.engine_free(engine)
    return status, LIBRARY.engine_error().decode() if status else ""


def dense_spec(inputs: int, units: int = 5, **more: float) -> LayerSpec:
    return LayerSpec(**{"kind": 1, "in_h": 1, "in_w": 1, "in_c": inputs, "units": units, "pool": 1, **more})  # type: ignore[arg-type]


def conv_spec(**changed: int) -> LayerSpec:
    """3x3 with padding, on images of 8x8."""
    good = {"kind": 0, "relu": 1, "in_h": 8, "in_w": 8, "in_c": 1, "kernel_h": 3, "kernel_w": 3, "top": 1, "left": 1}
    return LayerSpec(**{**good, "out_h": 8, "out_w": 8, "units": 4, "pool": 2, **changed})


def test_sizes_are_64_bit_products() -> None:
    """64 threads times 2^26 inputs are 2^32 rows of the inputs' gradient, which 32 bits would count as none."""
    status, message = new_engine(
        dense_spec(2**26, 4096, relu=1), dense_spec(4096), batch=65_535, threads=64
    )  # 4096 units are shared by blocks, so that each thread has such rows of its own
    assert status == 1
    assert gigabytes(ValueError(message)) > 64 * 2**26 * 65_535 * 4 / 1e9


def test_sizes_beyond_64_bits_are_refused() -> None:
    most = 2**31 - 1
    status, message = new_engine(dense_spec(most, most, relu=1), dense_spec(most))
    assert (status, message) == (1, "the sizes of this network's arrays overflow 64 bits")


END = dense_spec(64)
BAD_ENGINES: dict[str, tuple[tuple[LayerSpec, ...], dict[str, int], str]] = {
    "no layers": ((), {}, "number of layers must be from 1 to 64, not 0"),
    "65 layers": ((*[dense_spec(5, relu=1)] * 64, dense_spec(5)), {}, "number of layers must be from 1 to 64, not 65"),
    "no batch": ((END,), {"batch": 0}, "batch size must be from 1 to 65535, not 0"),
    "batch too large": ((END,), {"batch": 65_536}, "batch size must be from 1 to 65535, not 65536"),
    "no threads": ((END,), {"threads": 0}, "number of threads must be from 1 to 64, not 0"),
    "65 threads": ((END,), {"threads": 65}, "number of threads must be from 1 to 64, not 65"),
    "unknown kind": ((dense_spec(64, kind=2),), {}, "unknown kind 2"),
    "conv after dense": ((dense_spec(64, 64, relu=1), conv_spec()), {}, "a convolution after a dense layer"),
    "inputs differ": ((conv_spec(), dense_spec(65)), {}, "a dense layer takes 65 inputs, but gets 64"),
    "images differ": (
        (conv_spec(), conv_spec(in_c=4), END), {}, "a convolution's input differs from the output before it",
    ),
    "no ReLU": ((conv_spec(relu=0), END), {}, "a convolution without ReLU"),
    "pooled by 3": ((conv_spec(pool=3), END), {}, "pooling by 3"),
    "nothing left": ((conv_spec(out_h=1), END), {}, "a convolution without any output"),
    "too much padding": ((conv_spec(top=3), END), {}, "padding does not fit"),
    "an output larger than the input": ((conv_spec(out_w=9), END), {}, "padding does not fit"),
    "no units": ((dense_spec(64, 0),), {}, "a layer without inputs or outputs"),
    "an image too large": (
        (conv_spec(in_h=40_000, in_w=40_000, out_h=40_000, out_w=40_000), END), {}, "32 bits can count",
    ),
    "dropout of 1": ((dense_spec(64, 64, relu=1, dropout=1.0), END), {}, "dropout must be at least 0 and"),
    "dropout of NaN": ((dense_spec(64, 64, relu=1, dropout=np.nan), END), {}, "dropout must be at least 0 and"),
    "ReLU at the end": ((dense_spec(64, relu=1),), {}, "all layers have ReLU but the last"),
    "a convolution at the end": ((conv_spec(),), {}, "all layers have ReLU but the last"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ENGINES)
def test_the_library_refuses_layers_that_would_lead_it_out_of_its_arrays(name: str) -> None:
    specs, sizes, message = BAD_ENGINES[name]
    status, reason = new_engine(*specs, **sizes)
    assert status == 1
    assert message in reason


def test_the_library_takes_what_those_were_made_from() -> None:
    assert new_engine(conv_spec(), END) == (0, "")
    assert new_engine(*[dense_spec(5, relu=1)] * 63, dense_spec(5), threads=64) == (0, "")


def test_layers_of_more_values_than_the_kernels_count_are_refused() -> None:
    wide = network_of((Flatten(), CLASSIFY), (2, 2, 1))
    layer = wide[1]
    inputs = 65_536 * 65_536
    layer.in_features, layer.weight = inputs, nn.Parameter(torch.zeros(1, 1).expand(CLASSES, inputs))
    with pytest.raises(UnknownNetwork, match=r"4,294,967,296 for in_c is more than the 2,147,483,647"):
        Chain(wide, (65_536, 65_536, 1))


THREAD_TROUBLE = """
import threading, torch
from engine_cases import build, pictures, training_chain
from misread import errors
from misread.training.device import using_threads

network, shape = build("norms")
images, labels = pictures(40, shape)
with using_threads(4):
    chain, other = training_chain(network, shape), training_chain(network, shape)
real, started = threading.Thread.start, []

def start(thread):
    if len(started) == 2:
        raise {trouble}
    started.append(thread)
    real(thread)

arguments = (images, labels, torch.arange(16), [0.01], 0)
threading.Thread.start = start
try:
    chain.train(*arguments)
except (errors.MisreadError, KeyboardInterrupt) as error:
    print(type(error).__name__, error)
threading.Thread.start = real
print("left at a barrier:", sum(thread.is_alive() for thread in started))
before, after = chain.train(*arguments), other.train(*arguments)
print("as if it had not happened:", before[0] == after[0], before[1] == after[1])
"""


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("RuntimeError(\"can't start new thread\")",
         "MisreadError 4 threads could not be started (can't start new thread). "
         "Use fewer threads, or end other programs."),
        ("KeyboardInterrupt()", "KeyboardInterrupt "),
    ],
    ids=["too many threads", "an interrupt"],
)  # fmt: skip
def test_a_thread_that_cannot_start_leaves_no_other_at_a_barrier(trouble: str, message: str) -> None:
    """In a process of its own: it would never end."""
    paths = [str(Path(__file__).parent), str(Path(misread.__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {paths!r}\n{THREAD_TROUBLE.replace('{trouble}', trouble)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [message, "left at a barrier: 0", "as if it had not happened: [ True] True"], (
        done.stderr
    )


def test_work_without_a_call_is_refused() -> None:
    assert LIBRARY is not None
    with using_threads(1):
        chain = training_chain(network_of(MLP, SHAPE), SHAPE)
    for _ in range(2):  # before the first call, and after a whole one
        assert LIBRARY.engine_work(chain._engine, 0) == 1
        assert LIBRARY.engine_error() == b"no call was started, or it was cancelled"
        chain.train(*one_step())  # type: ignore[arg-type]
    assert LIBRARY.engine_work(chain._engine, 1) == 1
    assert LIBRARY.engine_error() == b"thread must be from 0 to 0, not 1"


def test_a_chain_may_be_used_by_several_python_threads() -> None:
    network, shape = build("norms")
    images, _ = pictures(64, shape)
    with using_threads(2):
        chain = Chain(network, shape, batch_size=8)
    alone = chain.predict(images)
    results: dict[int, Tensor] = {}
    users = [
        threading.Thread(target=lambda i=i: results.update({i: chain.predict(images[i:])}), daemon=True)
        for i in range(8)
    ]
    for user in users:
        user.start()
    for user in users:
        user.join(timeout=60)
    for i in range(8):
        assert torch.equal(results[i], alone[i:])
