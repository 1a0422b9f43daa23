"""The builds whose single layers are tested."""

import ctypes

import pytest
from engine_cases import builds_here

from misread.engine import kernel_calls, kernel_layers
from misread.engine.library import _open

# those with AVX-512 are compiled, but nothing uses them before they were measured
USED = [name for name in builds_here() if name in (*kernel_layers.FASTER, "plain")]


@pytest.fixture(params=USED)
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """Each such build in turn; `kernel_calls.call` calls it."""
    library = _open(request.param)
    assert library is not None
    monkeypatch.setattr(kernel_calls, "load_library", lambda: library)
    return library
