"""What the native modules take: the facts of tensors that stay, and hyper-parameters, made anew only where they changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..buckets import Bucket
from ..hyper import AVERAGED, NOISES
from ..levy import LEVY
from ..quantizers import ROUNDINGS
from ..reference_rules import RULES

NOISE_CODES = {name: code for code, name in enumerate(NOISES, 1)}  # the values of NoiseKind in csrc/core/normal.h
NOISE_CODES |= {AVERAGED + name: code + 4 for name, code in NOISE_CODES.items()} | {LEVY: 4}
ROUNDING_CODES = {"off": 0, **{name: code for code, name in enumerate(ROUNDINGS, 1)}}  # GridRounding in csrc/core/quantize.h


def list_facts(bucket: Bucket) -> list[dict[str, Any]]:
    """What stays the same of each tensor from step to step; all of them must live as long as what is made of it."""
    return [
        {
            "param": item.param.data_ptr(),
            "states": [item.state[name].data_ptr() for name in bucket.state_names],
            "size": item.param.numel(),
            "offset": item.offset,
            "key": item.key,
            "noise": item.noise,
            "group": item.group,
            "step": item.state["step"].data_ptr(),
            "place": item.order,
        }
        for item in bucket.items
    ]


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
