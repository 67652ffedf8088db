"""Arguments that the small values among the hyper-parameters must refuse: what makes one, and words of the message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from qlangevin.quantizers import AdaptiveResolution, CalibratedResolution, Compensation, Grid, LogResolution
from qlangevin.schedules import Cooling, Cosine, Cyclical, Linear, LogCooling, Piecewise

NAN, INF = float("nan"), float("inf")


class Stream(IterableDataset[int]):
    """Data without a length."""

    def __iter__(self) -> Iterator[int]:
        return iter(())


EMPTY: Any = DataLoader([], batch_size=2)
ENDLESS: Any = DataLoader(Stream(), batch_size=2)
NO_REALS: tuple[Any, ...] = (NAN, "1", None, True, 1j, (1.0,), torch.ones(2), 10**400)
NO_INTEGERS: tuple[Any, ...] = (NAN, 2.0, 2.5, "1", True, 1j, (1,), torch.tensor(1))
BATCHES: tuple[Any, ...] = (0, -1, [], EMPTY, ENDLESS, *NO_INTEGERS[:-2], torch.tensor([1, 2]))

Row = tuple[Callable[[Any], Any], Any, str]
ROWS: list[Row] = []


def add(make: Callable[[Any], Any], values: tuple[Any, ...], told: str) -> None:
    """A row for each value."""
    ROWS.extend((make, value, told) for value in values)


add(LogResolution, (*BATCHES, None), "batches_per_epoch must be a positive integer or a data loader")
add(lambda v: LogResolution(2, scale=v), (*NO_REALS, 0.0, -1.0, INF), "scale must be a number in (0, inf)")
add(lambda v: LogResolution(2, base=v), (*NO_REALS, 1.0, 0.5, INF), "base must be a number in (1, inf)")
add(lambda v: LogResolution(2, power=v), (*NO_REALS, INF, -INF), "power must be a number in (-inf, inf)")
add(LogResolution.of_the_paper, (0, "1", None), "batches_per_epoch")
add(AdaptiveResolution, BATCHES, "batches_per_epoch must be a positive integer or a data loader")
add(lambda v: AdaptiveResolution(start=v), (*NO_INTEGERS, None, -127, 33), "start must be an integer in [-126, 32]")
add(lambda v: AdaptiveResolution(limit=v), (*NO_INTEGERS, None, -127, 127), "limit must be an integer in [-126, 126]")
add(lambda v: AdaptiveResolution(start=5, limit=v), (4,), "start must be an integer in [-126, 4], got 5")
add(lambda v: Compensation(v, 2), (*NO_REALS, -1.0, -1e-300, INF), "warmup_epochs must be a number in [0, inf)")
add(lambda v: Compensation(1.0, v), (*BATCHES, None), "batches_per_epoch must be a positive integer or a data loader")
add(lambda v: Compensation(1.0, 2, slope=v), (*NO_REALS, 0.0, -1.0, INF), "slope must be a number in (0, inf)")
add(lambda v: Compensation(1.0, 2, envelope=v), ("cosine", None, 1, ["tanh"]), "envelope must be one of tanh, sigmoid")
add(lambda v: Compensation(1.0, 2, norm=v), ("layer", None, 1, ["tensor"]), "norm must be one of tensor, global")
add(Cooling, (*NO_INTEGERS, None, 0, -1), "total_steps, an integer of at least 1")
add(lambda v: Cooling(5, v), (*NO_REALS, 1.0, -0.1, INF), "start in [0, 1)")
add(lambda v: Cooling(5, form=v), ("cosine", None, 1, ["linear"]), "form among geometric, exponential, linear")
add(lambda v: Cooling(5, warmup_steps=v), (*NO_INTEGERS, None, -1), "warmup_steps, an integer of at least 0")
add(lambda v: Linear(1.0, 0.0, v), (*NO_INTEGERS, None, 1), "steps >= 2")
add(lambda v: Linear(v, 0.0, 5), ("1", None, True), "start and end")
add(lambda v: Linear(0.0, v, 5), ("1", None, True), "start and end")
add(lambda v: Cosine(1.0, 0.0, v), (*NO_INTEGERS, None, 1), "Cosine needs steps >= 2")
add(lambda v: Cosine(v, 0.0, 5), ("1", None, True), "Cosine needs numbers as start and end")
add(lambda v: LogCooling(1.0, v), (*NO_INTEGERS, None, 0), "LogCooling needs steps >= 1")
add(lambda v: LogCooling(v, 5), ("1", None, True), "LogCooling needs a number as start")
add(lambda v: Cyclical(1.0, v), (*NO_INTEGERS, None, 0), "Cyclical needs steps >= 1")
add(lambda v: Cyclical(v, 5), ("1", None, True), "Cyclical needs a number as value")
add(lambda v: Cyclical(1.0, 5, v), ("1", None, True, -0.1, 1.1, NAN), "exploration in [0, 1]")
add(lambda v: Piecewise((v,), (1.0, 0.0)), ("1", None, True, 1.5, NAN), "integers as boundaries")
add(lambda v: Grid(64.0, v), ("up", "off", "Noise", None), "rounding must be one of nearest, stochastic, floor, dither, noise")
add(
    Grid,
    (0.0, NAN, None, "64", LogResolution, CalibratedResolution, AdaptiveResolution),
    "resolution must be a number in [2^-126",
)
