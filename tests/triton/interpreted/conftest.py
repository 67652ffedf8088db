"""The interpreter's surroundings: numpy may overflow as a GPU does, and what is patched already is not patched again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import triton.language as tl
from triton.runtime import interpreter


@pytest.fixture(autouse=True)
def quiet_numpy() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(autouse=True, scope="session")
def patch_once() -> Iterator[None]:
    """Every call of a device function patches Triton's modules again, which takes two thirds of a launch's time."""
    real, patched = interpreter._patch_lang, set[frozenset[int]]()

    def patch(function: Any) -> Any:
        modules = frozenset(id(value) for value in function.__globals__.values() if value is tl or value is tl.core)
        if function.__name__.endswith("_kernel"):  # a launch; what it patches is undone after it
            patched.clear()
        elif modules in patched:
            return None
        patched.add(modules)
        scope = real(function)
        tl.tensor.__index__ = lambda value: value.handle.data.item()  # Triton 3.6 asks numpy 2.4 for more than it allows
        return scope

    builder = interpreter.interpreter_builder
    unchecked = mock.patch.dict(vars(builder.options), {"sanitize_overflow": False})  # asserted in debug mode only
    with mock.patch.object(interpreter, "_patch_lang", patch), unchecked:
        yield
