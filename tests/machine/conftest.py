"""The kernels of the session; without any, or without the tools that take them apart, the tests skip and say why."""

from __future__ import annotations

import pytest

from .binaries import Binaries, load_binaries
from .layout import Layout, load_layout
from .tools import MissingToolError


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    try:
        return load_binaries()
    except MissingToolError as error:
        pytest.skip(f"the native module holds no kernels that could be read here: {error}")


@pytest.fixture(scope="session")
def layout() -> Layout:
    try:
        return load_layout()
    except MissingToolError as error:
        pytest.skip(str(error))
