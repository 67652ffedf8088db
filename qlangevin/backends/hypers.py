"""Resolved hyper-parameters in the native form, made anew only where they changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..hyper import NOISES
from ..quantizers import ROUNDINGS
from ..reference_rules import RULES

NOISE_CODES = {name: code for code, name in enumerate(NOISES, 1)}  # the values of NoiseKind in csrc/core/normal.h
ROUNDING_CODES = {"off": 0, **{name: code for code, name in enumerate(ROUNDINGS, 1)}}  # GridRounding in csrc/core/quantize.h


class NativeHypers:
    """The native hyper-parameters of every group for one rule."""

    def __init__(self, rule: str, native: Any) -> None:
        self.native = native  # the module that has the type
        self.names = RULES[rule].hypers
        self.sources: list[dict[str, Any]] = []
        self.hypers: list[Any] = []

    def convert(self, sources: Sequence[dict[str, Any]]) -> list[Any]:
        """The native form of each group's; the same objects while nothing changes."""
        if len(self.sources) != len(sources):
            self.sources, self.hypers = [{}] * len(sources), [None] * len(sources)
        for i, source in enumerate(sources):
            if self.sources[i] is not source:
                self.sources[i], self.hypers[i] = source, self.convert_one(source)
        return self.hypers

    def convert_one(self, source: dict[str, Any]) -> Any:
        """The native form of one group's."""
        coded = {
            "noise": NOISE_CODES[source["noise"]],
            "grad_rounding": ROUNDING_CODES[source["grad_rounding"]],
            "update_rounding": ROUNDING_CODES[source["update_rounding"]],
            "rule": [float(source[name]) for name in self.names],
        }
        return self.native.Hyper({**source, **coded})
