"""Triton's interpreter is chosen for a whole process: tests of it are collected only in one that has chosen it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted"]


@pytest.fixture
def driver() -> Iterator[Any]:
    """A stub for a GPU's driver."""
    from .stub_driver import stub_driver

    with stub_driver() as stub:
        yield stub
