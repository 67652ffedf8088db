"""Deep snapshots of an optimizer, compared bit for bit: what "unchanged" means in every test of a refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qlangevin.backends.device import is_device

ON_DEVICE = is_device(torch.device("cpu"))  # tests/cuda/test_optimizers_on_host.py, tests/triton/test_interpreted.py


def bytes_of(tensor: Tensor) -> Tensor:
    """A copy of a tensor's elements as bytes, in the logical order."""
    tensor = tensor.detach()
    if tensor.device.type == "meta":
        return torch.empty(0, dtype=torch.uint8)
    if tensor.layout != torch.strided:
        tensor = tensor.coalesce().values()
    return tensor.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)


def freeze(value: Any) -> Any:
    """A value that compares equal to another only if all bits are equal; callables and other objects by identity."""
    if isinstance(value, Tensor):
        return (str(value.dtype), tuple(value.shape), bytes(bytes_of(value).tolist()))
    if isinstance(value, Mapping):
        return {key: freeze(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [freeze(item) for item in value]
    return repr(value) if isinstance(value, float | int) else value


def is_only_built(state: Mapping[str, Any]) -> bool:
    """Whether a state is as it was made, before any step; where the device decides whether a step is taken, one is made first."""
    if not ON_DEVICE or not all(isinstance(value, Tensor) for value in state.values()):
        return False
    return not bool(state["step"]) and all(bool((value == value.reshape(-1)[:1]).all()) for value in state.values())


@dataclass
class Snapshot:
    """Everything that a step or a load could change."""

    params: list[Any]
    grads: list[Any]
    states: dict[int, Any]
    groups: list[Any]
    members: list[list[int]]


def take_snapshot(optimizer: torch.optim.Optimizer) -> Snapshot:
    """The parameters, gradients, states and groups of an optimizer."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    skipped = ("params", "differentiable")  # torch adds the latter to the defaults of any optimizer that was loaded once
    groups = [{key: freeze(value) for key, value in group.items() if key not in skipped} for group in optimizer.param_groups]
    return Snapshot(
        [freeze(param) for param in params],
        [freeze(param.grad) for param in params],
        {id(param): freeze(state) for param, state in optimizer.state.items() if not is_only_built(state)},
        groups,
        [[id(param) for param in group["params"]] for group in optimizer.param_groups],
    )


@contextlib.contextmanager
def unchanged(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Asserts that the block leaves every bit of the optimizer and its tensors alone, also if it raises."""
    before = take_snapshot(optimizer)
    yield
    after = take_snapshot(optimizer)
    for part in ("params", "grads", "states", "groups", "members"):
        assert getattr(after, part) == getattr(before, part), f"{part} changed"


def describe_difference(got: Tensor, wanted: Tensor) -> str | None:
    """None if dtype, shape and bits are equal (every NaN equals every other), else what differs."""
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        return f"{got.dtype} {tuple(got.shape)} is not {wanted.dtype} {tuple(wanted.shape)}"
    a, b = got.detach().contiguous().reshape(-1), wanted.detach().contiguous().reshape(-1)
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    same = a.view(width) == b.view(width)
    if a.is_floating_point():
        same |= a.isnan() & b.isnan()
    if bool(same.all()):
        return None
    at = int((~same).nonzero()[0])
    return f"{int((~same).sum())} of {same.numel()} differ, the first at {at}: {a[at].item()!r} is not {b[at].item()!r}"


def assert_same(got: Mapping[Any, Tensor], wanted: Mapping[Any, Tensor]) -> None:
    """Asserts equal bits, name by name."""
    assert got.keys() == wanted.keys()
    found = {name: describe_difference(got[name], wanted[name]) for name in got}
    assert not any(found.values()), {name: difference for name, difference in found.items() if difference}


def states_by_name(optimizer: torch.optim.Optimizer, params: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state tensors, each called "parameter/state"."""
    return {f"{name}/{key}": value for name, param in params.items() for key, value in optimizer.state.get(param, {}).items()}
