"""Numbers as users write them: ints, floats, 0-dim tensors. Imports no torch."""

from __future__ import annotations

from typing import Any


def as_number(value: Any) -> float | None:
    """value as a float if it is an int, a float or a 0-dim tensor of one; None if not."""
    if hasattr(value, "ndim") and hasattr(value, "item"):
        value = value.item() if value.ndim == 0 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond binary64's range
        return None
