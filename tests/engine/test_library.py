"""The compiled library and its mirror in Python."""

import ctypes
from collections.abc import Iterator

import pytest
from engine_cases import build, builds_here

from misread.engine import library
from misread.engine.chain import Chain, UnknownNetwork
from misread.engine.library import (
    ABI,
    BUILDS,
    Convolution,
    Hyper,
    Images,
    LayerSpec,
    _open,
    build_name,
    load_library,
    why_unavailable,
)

COMPILED = [name for name in BUILDS if library._path(name)]


@pytest.fixture
def another_interface(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """As if the Python files were of a later version than the compiled ones."""
    monkeypatch.setattr(library, "ABI", ABI + 1)
    library._best.cache_clear()
    yield ABI + 1
    library._best.cache_clear()


@pytest.mark.parametrize("name", COMPILED)
def test_every_compiled_build_has_the_interface_of_this_version(name: str) -> None:
    """Otherwise all other tests of the kernels would be skipped without a word: compile them again."""
    assert _open(name) is not None, f"the build {name} is of another version: setup.py build_ext --inplace --force"


@pytest.mark.parametrize("name", builds_here())
def test_the_structures_have_the_same_size_on_both_sides(name: str) -> None:
    compiled = _open(name)
    assert compiled is not None
    assert ctypes.sizeof(LayerSpec) == compiled.engine_spec_size()
    assert ctypes.sizeof(Hyper) == compiled.engine_hyper_size()
    assert ctypes.sizeof(Convolution) == compiled.convolution_size()
    assert ctypes.sizeof(Images) == compiled.images_size()


@pytest.mark.skipif(not COMPILED, reason="there are no compiled kernels")
def test_the_build_in_use_is_the_first_that_this_processor_can_run() -> None:
    best = builds_here()[0]
    used, first = load_library(), _open(best)
    assert used is not None
    assert first is not None
    assert used._name == first._name
    assert build_name() == best
    assert f"_kernels_{best}.so" in used._name


@pytest.mark.skipif(not COMPILED, reason="there are no compiled kernels")
def test_a_library_of_another_interface_is_not_used_and_the_note_says_so(another_interface: int) -> None:
    assert load_library() is None
    assert build_name() is None
    assert why_unavailable() == (
        f"the compiled kernels are of another version of misread (interface {ABI}, not {another_interface}). "
        "Reinstall misread to compile them again"
    )
    network, shape = build("mlp 20")
    with pytest.raises(UnknownNetwork, match="another version of misread"):
        Chain(network, shape)


def test_a_library_from_before_there_were_interface_numbers_counts_as_the_first() -> None:
    assert library._abi(ctypes.CDLL(None)) == 1 != ABI
