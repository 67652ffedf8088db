"""The state tensors of the parameters of a step: made where they are missing, converted where their form is another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import buckets
from .buckets import Bucket, Item
from .errors import TensorError
from .scalar_values import as_counter, as_number

if TYPE_CHECKING:
    from .optim.base import LangevinOptimizer


@dataclass
class MadeStates:
    """The states that were given to tensors, and what was there before."""

    before: list[tuple[dict[str, Any], dict[str, Any]]]

    def undo(self) -> None:
        """Takes them away again."""
        for state, old in self.before:
            state.clear()
            state.update(old)


def wants_counters_on_device(optimizer: LangevinOptimizer, bucket: Bucket) -> bool:
    """Whether a bucket's tensors count on their device: for graphs, where it may skip a step, and where they do already."""
    if optimizer.param_groups[0]["capturable"] or getattr(optimizer, "found_inf", None) is not None:
        return True
    steps = (optimizer.state.get(item.param, {}).get("step") for item in bucket.items)
    return any(isinstance(step, Tensor) and step.device.type != "cpu" for step in steps)


def make_states(optimizer: LangevinOptimizer, made: list[Bucket]) -> MadeStates:
    """Gives each tensor its states, made where it has none; nothing is attached before all of them are allocated."""
    items = [(bucket, item) for bucket in made for item in bucket.items]
    ready: list[tuple[Item, dict[str, Any]]] = []
    kept: list[tuple[str, Tensor]] = []
    for bucket in made:
        where = bucket.device if bucket.counts_on_device else torch.device("cpu")
        counters = iter(torch.zeros(len(bucket.items), dtype=torch.int64, device=where).unbind(0))
        for item in bucket.items:
            old = optimizer.state.get(item.param, {})
            fresh: dict[str, Any] = {}
            counter = next(counters)
            if not is_counter(old.get("step"), where):
                fresh["step"] = counter
                if "step" in old or any(name in old for name in bucket.state_names):
                    counter.fill_(read_counter(item, old.get("step", 1)))  # torch.optim.SGD saves a velocity without a step
            for name in bucket.state_names:
                fresh.update(match_state(name, item, old.get(name), bucket.dtypes[2], initial_value(optimizer, item, name)))
            ready.append((item, fresh))
            kept += [(f"state {name} of {item.name}", old[name]) for name in ("step", *bucket.state_names) if name not in fresh]
    check_memory([item for _, item in items], kept)
    before = [(item, dict(optimizer.state.get(item.param, {}))) for item, _ in ready]
    for item, fresh in ready:
        item.state = optimizer.state[item.param]
        item.state.update(fresh)
    return MadeStates([(item.state, old) for item, old in before])


def check_memory(items: list[Item], states: list[tuple[str, Tensor]]) -> None:
    """Refuses parameters and states that overlap in memory with each other, or with a gradient that is read in place.

    A gradient may lie elsewhere in the next step: the watch looks where it lies then, and asks for a new plan.

    Raises:
        TensorError: naming both.
    """
    written = [(f"parameter {item.name}", item.param) for item in items]
    grads = [(item, item.param.grad) for item in items if item.param.grad is not None]
    read = [(f"gradient of {item.name}", grad) for item, grad in grads if not buckets.is_copied(item.param, grad)]
    buckets.check_no_shared_memory((*written, *states), read)


def initial_value(optimizer: LangevinOptimizer, item: Item, name: str) -> float:
    """What a state begins with."""
    source = optimizer.initial_states.get(name)
    return 0.0 if source is None else as_number(optimizer.param_groups[item.group][source]) or 0.0


def match_state(name: str, item: Item, old: Any, dtype: torch.dtype, initial: float) -> dict[str, Tensor]:
    """The state tensor to put in the place of `old`; nothing if that one fits."""
    if old is not None and (not isinstance(old, Tensor) or old.shape != item.param.shape):
        found = buckets.describe(name, old) if isinstance(old, Tensor) else f"{name} of type {type(old).__name__}"
        raise TensorError(f"state {found} does not belong to parameter {buckets.describe(item.name, item.param)}")
    if old is not None:
        buckets.check_tensor("state", name, old)
    if old is None:
        return {name: torch.full_like(item.param, initial, dtype=dtype, memory_format=torch.preserve_format)}
    if old.dtype == dtype and old.device == item.param.device and buckets.same_layout(item.param, old) and not old.is_neg():
        return {}
    return {name: torch.empty_like(item.param, dtype=dtype).copy_(old)}


def read_counter(item: Item, step: Any) -> int:
    """A step counter of another form: torch's binary32, a number."""
    count = as_counter(step)
    if count is None:
        raise TensorError(f"step of {buckets.describe(item.name, item.param)} must be an integer in [0, 2^32 - 1), got {step!r}")
    return count


def is_counter(step: Any, where: torch.device) -> bool:
    """Whether a state's step is one that the kernels can advance."""
    return isinstance(step, Tensor) and step.dtype == torch.int64 and step.ndim == 0 and step.device == where
