"""One optimizer's tensors, ready to be stepped: buckets, their plans, and the cheap test that they still hold."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from . import buckets, hyper
from .backends import Plan, choose_backend, step_plans
from .backends.plan import StepInput
from .buckets import Bucket, Item
from .errors import TensorError
from .group_hypers import GroupHypers, resolve_groups
from .metrics import Observed, ObservedTensor
from .reference_rules import RULES
from .scalar_values import as_counter
from .watch import Watch

if TYPE_CHECKING:
    from .optim.base import LangevinOptimizer


@dataclass(frozen=True)
class Ahead:
    """What is known of one tensor's displacement before it is taken.

    Args:
        group: the tensor's group.
        order: its place among all stepped tensors.
        squares: the sum of its squares.
        largest: its largest magnitude, NaN left out.
    """

    group: int
    order: int
    squares: float
    largest: float


class Execution:
    """The buckets and plans of an optimizer, made once and kept while nothing about its tensors changes."""

    def __init__(self, optimizer: LangevinOptimizer, made: list[Bucket], plans: list[Plan], idle: list[Tensor]) -> None:
        """Takes plans of buckets whose every tensor has been checked, and the parameters without a gradient."""
        self.buckets = made
        self.plans = plans
        self.watch = Watch(made, idle, optimizer)
        self.hypers = GroupHypers(optimizer)
        self.grads: tuple[list[Tensor], MutableSequence[int]] | None = None

    @classmethod
    def prepare(cls, optimizer: LangevinOptimizer) -> Execution | None:
        """Checks every tensor, makes missing states, then plans; None if there is no gradient.

        Raises:
            QlangevinError: before anything has been written.
        """
        made, idle = collect(optimizer)
        if not made:
            return None
        backends = [choose_backend(optimizer.backend, bucket) for bucket in made]
        make_states(optimizer, made)
        plans = [backend.make_plan(bucket) for backend, bucket in zip(backends, made, strict=True)]
        execution = cls(optimizer, made, plans, idle)
        execution.is_current(optimizer)
        return execution

    def is_current(self, optimizer: LangevinOptimizer) -> bool:
        """Whether the plans still describe the optimizer; reads this step's hyper-parameters and gradients on the way."""
        grads = self.watch.read_grads(optimizer)
        if grads is None or not self.hypers.read(optimizer):
            return False
        self.grads = grads
        return True

    def make_input(self, inverse_scale: float) -> StepInput:
        """This step's input for all buckets together."""
        assert self.grads is not None
        (grads, pointers), self.grads = self.grads, None  # kept no longer than the step, or zero_grad could not free them
        values = self.hypers.values
        multipliers = [-inverse_scale if value["maximize"] else inverse_scale for value in values]
        return StepInput(grads, pointers, values, multipliers, values[0]["chain"])

    def only_builds_state(self, step_input: StepInput) -> bool:
        """Whether this is the step that checkpoint tools take to build the states: the first, lr 0, all gradients 0."""
        if any(values["lr"] != 0.0 for values in step_input.hypers):
            return False
        fresh = all(int(item.state["step"]) == 0 for bucket in self.buckets for item in bucket.items)
        return fresh and not any(bool(grad.any()) for grad in step_input.grads)

    def step(self, step_input: StepInput, measures: bool) -> Observed | None:
        """Steps every bucket; with `measures` returns the statistics of the step.

        Raises:
            TensorError: a step counter is out of range.
        """
        self.check_counters()
        try:
            statistics = step_plans(self._split(step_input), measures)
        finally:
            increment_version(self.watch.seen.params)  # so that autograd notices a graph that saved an old value
        return Observed(self.list_observed(), statistics, list(step_input.hypers)) if measures else None

    def check_counters(self) -> None:
        """Refuses a step counter at its end.

        Raises:
            TensorError: a step counter is out of range.
        """
        if not all(plan.counters_fit() for plan in self.plans):
            raise TensorError("a state's step left [0, 2^32 - 1), which the draws are counted by")

    def list_observed(self) -> list[ObservedTensor]:
        """What the metrics have to know of each tensor."""
        items = [(bucket, item) for bucket in self.buckets for item in bucket.items]
        return [ObservedTensor(item.name, item.group, item.param.numel(), bucket.rule) for bucket, item in items]

    def look_ahead(self, step_input: StepInput) -> list[Ahead]:
        """The coming displacement of each tensor, in the order of the buckets.

        Raises:
            TensorError: a step counter is out of range.
        """
        self.check_counters()
        norms = [norm for plan, part in self._split(step_input) for norm in plan.look_ahead(part)]
        items = [item for bucket in self.buckets for item in bucket.items]
        return [Ahead(item.group, item.order, *norm) for item, norm in zip(items, norms, strict=True)]

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sums of squares of all gradients, in the order of the parameters in their groups."""
        squares = [plan.square_grads(part) for plan, part in self._split(step_input)]
        keyed = [
            (item.order, square)
            for bucket, sums in zip(self.buckets, squares, strict=True)
            for item, square in zip(bucket.items, sums, strict=True)
        ]
        return [square for _, square in sorted(keyed)]

    def _split(self, step_input: StepInput) -> Sequence[tuple[Plan, StepInput]]:
        if len(self.plans) == 1:
            return [(self.plans[0], step_input)]
        parts, start = [], 0
        for plan, bucket in zip(self.plans, self.buckets, strict=True):
            span = slice(start, start + len(bucket.items))
            part = replace(step_input, grads=step_input.grads[span], pointers=step_input.pointers[span])
            part.compensations = step_input.compensations[span]
            parts.append((plan, part))
            start = span.stop
        return parts


def collect(optimizer: LangevinOptimizer) -> tuple[list[Bucket], list[Tensor]]:
    """The buckets of all parameters with gradients, and the parameters without; checks everything, writes nothing.

    Raises:
        QlangevinError: a tensor or hyper-parameter that the step cannot take.
    """
    names = iter(buckets.name_params(optimizer.param_groups))
    resolved = resolve_groups(optimizer, range(len(optimizer.param_groups)))
    hyper.check_uniform(resolved)
    found: dict[tuple[Any, ...], Bucket] = {}
    idle: list[Tensor] = []
    stepped = 0
    for index, group in enumerate(optimizer.param_groups):
        rule = optimizer.rule_of(group)
        for param in group["params"]:
            name = next(names)
            if param.grad is None:
                idle.append(param)
                continue
            buckets.check_param(name, param)
            buckets.check_grad(name, param, param.grad)
            dtypes = (param.dtype, param.grad.dtype, buckets.state_dtype_for(param, group["state_dtype"]))
            bucket = Bucket(rule, param.device, dtypes, RULES[rule].states)
            bucket = found.setdefault((rule, param.device, dtypes), bucket)
            key = buckets.tensor_key(resolved[index]["seed"], name)
            bucket.items.append(Item(param, name, key, index, stepped))
            stepped += 1
    return list(found.values()), idle


def make_states(optimizer: LangevinOptimizer, made: list[Bucket]) -> None:
    """Gives each tensor its states, zero where it has none; nothing is attached before all of them are allocated."""
    items = [(bucket, item) for bucket in made for item in bucket.items]
    counters = iter(torch.zeros(len(items), dtype=torch.int64, device="cpu").unbind(0))
    ready: list[tuple[Item, dict[str, Any]]] = []
    kept: list[tuple[str, Tensor]] = []
    for bucket, item in items:
        old = optimizer.state.get(item.param, {})
        fresh: dict[str, Any] = {}
        if not is_counter(old.get("step")):
            fresh["step"] = next(counters)
            if "step" in old or any(name in old for name in bucket.state_names):
                fresh["step"].fill_(read_counter(item, old.get("step", 1)))  # torch.optim.SGD saves a velocity without a step
        for name in bucket.state_names:
            fresh.update(match_state(name, item, old.get(name), bucket.dtypes[2]))
        ready.append((item, fresh))
        kept += [(f"state {name} of {item.name}", old[name]) for name in ("step", *bucket.state_names) if name not in fresh]
    check_memory([item for _, item in items], kept)
    for item, fresh in ready:
        item.state = optimizer.state[item.param]
        item.state.update(fresh)


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


def match_state(name: str, item: Item, old: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """The state tensor to put in the place of `old`; nothing if that one fits."""
    if old is not None and (not isinstance(old, Tensor) or old.shape != item.param.shape):
        found = buckets.describe(name, old) if isinstance(old, Tensor) else f"{name} of type {type(old).__name__}"
        raise TensorError(f"state {found} does not belong to parameter {buckets.describe(item.name, item.param)}")
    if old is not None:
        buckets.check_tensor("state", name, old)
    if old is None:
        return {name: torch.zeros_like(item.param, dtype=dtype, memory_format=torch.preserve_format)}
    if old.dtype == dtype and old.device == item.param.device and buckets.same_layout(item.param, old) and not old.is_neg():
        return {}
    return {name: torch.empty_like(item.param, dtype=dtype).copy_(old)}


def read_counter(item: Item, step: Any) -> int:
    """A step counter of another form: torch's binary32, a number."""
    count = as_counter(step)
    if count is None:
        raise TensorError(f"step of {buckets.describe(item.name, item.param)} must be an integer in [0, 2^32 - 1), got {step!r}")
    return count


def is_counter(step: Any) -> bool:
    """Whether a state's step is one that the kernels can advance."""
    return isinstance(step, Tensor) and step.dtype == torch.int64 and step.ndim == 0 and step.device.type == "cpu"
