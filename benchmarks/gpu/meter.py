"""Timing on the device, and the memory that the measured tensors lie in."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qlangevin.bench.measure import Spread, wrap_params
from qlangevin.bench.shapes import Shape

Step = Callable[[], object]
ROOM = 256  # elements: every tensor begins where an allocation of its own would
CHUNK = 1 << 28


@dataclass(frozen=True)
class Meter:
    """Times calls. small: each only a few times, to test the benchmark."""

    device: torch.device
    small: bool = False

    def synchronize(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def count(self, step: Step, seconds: float) -> int:
        """How many calls fill so many seconds, from one of them; at least 10, at most 200."""
        self.synchronize()
        start = time.perf_counter()
        step()
        self.synchronize()
        return 3 if self.small else max(10, min(200, int(seconds / (time.perf_counter() - start))))

    def on_device(self, step: Step, seconds: float = 0.6) -> Spread:
        """Seconds of the device for each of several calls in a row, which are queued faster than they run."""
        for _ in range(1 if self.small else 3):
            step()
        times = self.count(step, seconds)
        if self.device.type != "cuda":
            return self.on_host(step, times)
        # torch leaves the constructor of its events untyped.
        events = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
        self.synchronize()
        events[0].record()
        for event in events[1:]:
            step()
            event.record()
        self.synchronize()
        return Spread.of([float(a.elapsed_time(b)) / 1e3 for a, b in itertools.pairwise(events)])

    def on_wall(self, step: Step, seconds: float = 0.4) -> Spread:
        """Seconds from each call to the end of its work on the device."""
        for _ in range(3):
            step()
        found = []
        for _ in range(self.count(step, seconds)):
            self.synchronize()
            start = time.perf_counter()
            step()
            self.synchronize()
            found.append(time.perf_counter() - start)
        return Spread.of(found)

    def on_host(self, step: Step, times: int) -> Spread:
        """Seconds of the host's work alone; the device is idle before each call."""
        found = []
        for _ in range(times):
            self.synchronize()
            start = time.perf_counter()
            step()
            found.append(time.perf_counter() - start)
        self.synchronize()
        return Spread.of(found)

    def in_a_row(self, step: Step) -> float:
        """Seconds for each of many calls that are queued one after another, with all that lies between them."""
        times = 3 if self.small else 300
        step()
        self.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            step()
        self.synchronize()
        return (time.perf_counter() - start) / times

    def release(self) -> None:
        """Gives back what is no longer used."""
        if not self.small:
            gc.collect()
        if self.device.type == "cuda":
            self.synchronize()
            torch.cuda.empty_cache()


class Arena:
    """Values and gradients of a list of shapes, each in one piece of memory, all of them random."""

    def __init__(self, shapes: Sequence[Shape], dtype: torch.dtype, device: torch.device) -> None:
        """Draws them."""
        self.shapes = list(shapes)
        self.elements = sum(map(math.prod, self.shapes))
        room = sum(-(-math.prod(shape) // ROOM) * ROOM for shape in self.shapes)
        self.values, self.grads = (draw(room, dtype, device, seed) for seed in (1, 2))

    def cut(self, memory: Tensor) -> Iterator[Tensor]:
        """The tensors in a piece of memory."""
        at = 0
        for shape in self.shapes:
            size = math.prod(shape)
            yield memory[at : at + size].view(shape)
            at += -(-size // ROOM) * ROOM

    def params(self) -> list[torch.nn.Parameter]:
        """New parameters over the memory, with gradients."""
        return wrap_params(zip(self.cut(self.values), self.cut(self.grads), strict=True))


def draw(size: int, dtype: torch.dtype, device: torch.device, seed: int) -> Tensor:
    """Normal values."""
    generator = torch.Generator(device).manual_seed(seed)
    memory = torch.empty(size, dtype=dtype, device=device)
    for part in memory.split(CHUNK):
        part.normal_(generator=generator)
    return memory
