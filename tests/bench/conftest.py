"""Tiny lists, cases and settings for the tests of the comparison."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import pytest
import torch

from qlangevin import SGLD
from qlangevin.bench import command, measure
from qlangevin.bench.cases import BF16, F32, STILL, WARM, Case, EagerLangevin, ours, torch_sgd
from qlangevin.bench.measure import Settings
from qlangevin.bench.shapes import TensorList, repeat

Parse = Callable[[Sequence[str]], argparse.Namespace]
FUSED = Case("torch SGD fused", F32, torch_sgd(fused=True), "torch")
EAGER = Case("eager loop", F32, EagerLangevin, "eager")
OURS = Case("ours", F32, ours(SGLD, **STILL))
OURS_BF16 = Case("ours bf16", BF16, ours(SGLD, **WARM))
TINY_CASES = (FUSED, EAGER, OURS, OURS_BF16)
TINY = {
    "first": TensorList("first", "three vectors", repeat(3, 40)),
    "second": TensorList("second", "two vectors", repeat(2, 10)),
}


@pytest.fixture
def settings() -> Settings:
    """Two rounds on the CPU beside a copy of 4 KB."""
    return Settings(torch.device("cpu"), rounds=2, copy_elements=1024)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command over tiny lists and four cases."""
    monkeypatch.setattr(command, "CASES", TINY_CASES)
    for name in list(command.LISTS):
        monkeypatch.delitem(command.LISTS, name)
    for name, entry in TINY.items():
        monkeypatch.setitem(command.LISTS, name, entry)
    monkeypatch.setattr(command, "Settings", lambda device, rounds: Settings(device, rounds=rounds, copy_elements=1024))
    monkeypatch.setattr(measure, "PROBE_ELEMENTS", 64)


@pytest.fixture
def parse() -> Parse:
    """Parse a command line as ``python -m qlangevin bench`` does."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args
