"""Facts about many objects, remembered and compared again cheaply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Getter = Callable[[Any], Any]


def all_equal_slowly(objects: Sequence[Any], getters: tuple[Getter, ...], expected: list[Any]) -> bool:
    """Whether each getter of each object gives what is expected, which goes object by object."""
    return [get(item) for item in objects for get in getters] == expected


try:
    from qlangevin._native import all_equal  # the same in one pass in C
except ImportError:
    all_equal = all_equal_slowly


class Facts:
    """What some getters gave for some objects."""

    def __init__(self, objects: Sequence[Any], getters: tuple[Getter, ...], expected: list[Any] | None = None) -> None:
        """Reads the facts, unless they are given (object by object)."""
        self.objects = list(objects)
        self.getters = getters
        self.expected = [get(item) for item in self.objects for get in getters] if expected is None else expected

    def hold(self) -> bool:
        """Whether they still hold for the same objects."""
        return bool(all_equal(self.objects, self.getters, self.expected))

    def hold_for(self, objects: Sequence[Any]) -> bool:
        """Whether they hold for other objects in the same places."""
        return bool(all_equal(list(objects), self.getters, self.expected))
