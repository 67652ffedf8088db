"""The native module for the passes over all tensors that have a slower twin in Python; None where it is not built."""

from __future__ import annotations

import importlib
from typing import Any

try:
    native: Any = importlib.import_module("qlangevin._native")
except ImportError:
    native = None
