"""Numbers as users and state_dicts write them: ints, floats, tensors of one element. Imports no torch."""

from __future__ import annotations

from typing import Any

COUNTER_END = 2**32 - 1  # draws are counted by 32 bits, and the coming step's number is one more than the counter
LARGEST = float.fromhex("0x1.fffffep+127")  # of binary32, to which every scalar of the step is rounded


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


def is_integer(value: Any) -> bool:
    """Whether value is an int, and not True or False."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_schedule(value: Any) -> bool:
    """Whether a hyper-parameter is to be called with the step: a function or the like, no class and no tensor."""
    return callable(value) and not isinstance(value, type) and not hasattr(value, "ndim")


def as_counter(value: Any) -> int | None:
    """value as a step counter in [0, 2^32 - 1), from an int, a float or a tensor of one element; None if it is none."""
    if hasattr(value, "numel") and value.numel() == 1:
        value = value.reshape(())
    count = as_number(value)
    if count is None or not 0 <= count < COUNTER_END or count != int(count):
        return None
    return int(count)
