"""The step counters of a plan's tensors on the host, read and advanced without the native module."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence

from torch import Tensor

from ..scalar_values import COUNTER_END


class HostCounters:
    """Counters that are neighbours in memory, as the ones made together are, pass as one array."""

    def __init__(self, steps: Sequence[Tensor]) -> None:
        """Takes 0-dim int64 tensors of the CPU."""
        self.steps = list(steps)  # keeps the memory alive
        runs: list[list[int]] = []  # [address, count]
        for step in self.steps:
            address = step.data_ptr()
            if runs and address == runs[-1][0] + 8 * runs[-1][1]:
                runs[-1][1] += 1
            else:
                runs.append([address, 1])
        self.arrays = [(ctypes.c_int64 * count).from_address(address) for address, count in runs]

    def read(self) -> list[int]:
        """Every counter, in order."""
        return list(itertools.chain.from_iterable(array[:] for array in self.arrays))

    def fit(self) -> bool:
        """Whether every counter can be advanced."""
        steps = self.read()
        return min(steps) >= 0 and max(steps) < COUNTER_END

    def advance(self) -> None:
        """Counts one more step of every tensor."""
        for array in self.arrays:
            steps = array[:]
            same = steps.count(steps[0]) == len(steps)
            array[:] = [steps[0] + 1] * len(steps) if same else [step + 1 for step in steps]
