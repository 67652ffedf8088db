"""Hyper-parameters of groups whose step counters are on a GPU: the host does not know the coming step.

Schedules become tables that the device reads; lr and temperature that are tensors there are left to it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import hyper
from .backends.device import NUMBERS, is_device
from .errors import HyperparameterError
from .group_hypers import naming_group, resolve_group, resolve_groups
from .quantizers import AdaptiveResolution, CalibratedResolution, Grid

if TYPE_CHECKING:
    from .optim.base import LangevinOptimizer

ON_DEVICE = ("lr", "temperature")  # that the device can read


def is_on_device(value: Any) -> bool:
    """Whether a value is a tensor that the host does not read."""
    return isinstance(value, Tensor) and is_device(value.device)


def find_dynamic(optimizer: LangevinOptimizer) -> Callable[[Any], bool]:
    """What tells whether the host has to look at a value before each step: a tensor of the host's; a schedule without a table."""
    has_tables = optimizer.tabulated_steps is not None

    def is_dynamic(value: Any) -> bool:
        return hyper.is_dynamic(value) and not is_on_device(value) and not (has_tables and hyper.needs_step(value))

    return is_dynamic


def resolve(optimizer: LangevinOptimizer, indices: Iterable[int]) -> list[dict[str, Any]]:
    """The hyper-parameters of some groups for all steps to come.

    Raises:
        HyperparameterError: a value out of range; one that cannot be left to the device.
    """
    resolved = []
    for index in indices:
        group = optimizer.param_groups[index]
        with naming_group(index):
            resolved.append(resolve_one(optimizer, group, index))
    return resolved


def resolve_one(optimizer: LangevinOptimizer, group: dict[str, Any], index: int) -> dict[str, Any]:
    """One group's. The host's reading of a tensor on the device is of the moment; only its range is checked."""
    tensors = {f"device_{name}": group[name] for name in ON_DEVICE if is_on_device(group[name])}
    check_numbers(group, tensors)
    scheduled = [name for name in (*hyper.FIELDS, *optimizer.rule_fields) if hyper.needs_step(group[name])]
    if not scheduled:
        return {**resolve_group(optimizer, group, 1), **tensors}
    steps = optimizer.tabulated_steps
    adaptive = [
        name for name in scheduled if isinstance(group[name], Grid) and isinstance(group[name].resolution, AdaptiveResolution)
    ]
    if steps is None and not group["capturable"]:  # the device may skip steps: the host has to ask where it is
        return resolve_groups(optimizer, (index,))[0]
    if adaptive:
        raise HyperparameterError(f"{adaptive[0]} = {group[adaptive[0]]!r} needs the host at each step: it cannot be captured")
    if steps is None:
        raise HyperparameterError(
            f"{scheduled[0]} is a schedule: with capturable=True call tabulate_schedules(total_steps) before the first step"
        )
    table = [resolve_group(optimizer, group, step) for step in range(1, steps + 1)]
    return {**table[0], **tensors, "schedule": table}


def check_numbers(group: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Refuses tensors on the device that it cannot read, or that something else follows from."""
    for name, tensor in tensors.items():
        if tensor.ndim != 0 or tensor.dtype not in NUMBERS:
            told = f"got {tuple(tensor.shape)}, {tensor.dtype}"
            raise HyperparameterError(f"{name.removeprefix('device_')} must be a 0-dim tensor of float32 or float64, {told}")
    grid = group["update_quantizer"]
    if tensors and isinstance(grid, Grid) and (isinstance(grid.resolution, CalibratedResolution) or grid.rounding == "noise"):
        raise HyperparameterError(
            f"update_quantizer = {grid!r} follows from lr and temperature: these must be numbers of the host"
        )


class Overrun:
    """Whether a step was taken that the tables of schedules do not have."""

    def __init__(self, device: torch.device, steps: int) -> None:
        """Nothing has yet."""
        self.steps = steps
        self.flag = torch.zeros((), dtype=torch.int32, device=device)
        self.seen = torch.zeros((), dtype=torch.int32, device="cpu", pin_memory=device.type != "cpu")
        self.seen_number = ctypes.c_int32.from_address(self.seen.data_ptr())  # its value, without torch, which could wait

    def look(self, is_capturing: bool) -> None:
        """Asks the device without waiting for it; not from inside of a graph, whose replays would write memory of the host."""
        if not is_capturing:
            self.seen.copy_(self.flag, non_blocking=True)

    def check(self, waits: bool = False) -> None:
        """Refuses to go on if the device is known to have run past the tables; with `waits`, if it has.

        Raises:
            HyperparameterError: naming the length; the steps beyond had the hyper-parameters of the last one.
        """
        if bool(self.flag) if waits else self.seen_number.value != 0:
            raise HyperparameterError(f"a schedule ran past total_steps = {self.steps}, which tabulate_schedules was given")
