"""One optimizer's tensors, ready to be stepped: buckets, their plans, and the cheap test that they still hold."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from . import buckets, device_hypers, hyper
from .backends import Plan, choose_backend, step_plans
from .backends.device import DevicePlan, one_device
from .backends.plan import DeviceSide, StepInput
from .buckets import Bucket, Item
from .errors import BackendError, TensorError
from .group_hypers import GroupHypers, resolve_groups
from .levy import LEVY
from .metrics import Observed, ObservedTensor, unless_skipped
from .reference_rules import RULES
from .scalar_values import COUNTER_END
from .tensor_states import make_states, wants_counters_on_device
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
        self.counts_on_device = any(bucket.counts_on_device for bucket in made)
        self.gpu = one_device(plans)
        self.overrun: device_hypers.Overrun | None = None
        self.watch = Watch(made, idle, optimizer)
        leaves = self.counts_on_device and self.gpu is not None  # several devices: the host asks each for its steps
        how = (device_hypers.resolve, device_hypers.find_dynamic(optimizer)) if leaves else ()
        self.hypers = GroupHypers(optimizer, *how)
        self.has_stepped = False
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
        for backend, bucket in zip(backends, made, strict=True):
            bucket.counts_on_device = backend.counts_on_device(bucket.device) and wants_counters_on_device(optimizer, bucket)
        made_states = make_states(optimizer, made)
        try:
            plans = [backend.make_plan(bucket) for backend, bucket in zip(backends, made, strict=True)]
        except BaseException:  # no memory for the plan, or Ctrl-C while kernels are compiled: as if nothing had been tried
            made_states.undo()
            raise
        execution = cls(optimizer, made, plans, idle)
        execution.is_current(optimizer)
        return execution

    def is_current(self, optimizer: LangevinOptimizer) -> bool:
        """Whether the plans still describe the optimizer; reads this step's hyper-parameters and gradients on the way."""
        if self.gpu is not None and not self.counts_on_device and getattr(optimizer, "found_inf", None) is not None:
            return False  # the device decides whether the step is taken: it has to count
        grads = self.watch.read_grads(optimizer)
        if grads is None or not self.hypers.read(optimizer):
            return False
        self.grads = grads
        return True

    def make_input(self, inverse_scale: float, side: DeviceSide | None = None) -> StepInput:
        """This step's input for all buckets together."""
        assert self.grads is not None
        (grads, pointers), self.grads = self.grads, None  # kept no longer than the step, or zero_grad could not free them
        values = self.hypers.values
        multipliers = [-inverse_scale if value["maximize"] else inverse_scale for value in values]
        return StepInput(grads, pointers, values, multipliers, values[0]["chain"], side)

    def device_side(self, optimizer: LangevinOptimizer) -> DeviceSide | None:
        """What the coming step leaves to the device: all that needs no answer from it, where one GPU has all the tensors."""
        values = self.hypers.values
        if self.gpu is None or any(value["adaptive"] for value in values):
            return None
        if self.overrun is None and any(value.get("schedule") for value in values):
            self.overrun = device_hypers.Overrun(self.gpu, optimizer.tabulated_steps or 0)
        if self.overrun is not None:
            self.overrun.check()
        found = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
        return DeviceSide(*found, None if self.overrun is None else self.overrun.flag)

    def is_capturing(self) -> bool:
        """Whether the coming step becomes a part of a graph."""
        return any(plan.is_capturing() for plan in self.plans if isinstance(plan, DevicePlan))

    def keep_for_graph(self) -> None:
        """Keeps what the graph reads that the step has just become a part of."""
        for plan in self.plans:
            if isinstance(plan, DevicePlan):
                plan.keep_for_graph()

    def check_capture(self, side: DeviceSide | None) -> None:
        """Refuses to become a part of a graph whose replays would not be steps.

        Raises:
            BackendError: the host counts the steps, or has to know something of the device.
        """
        if not self.is_capturing():
            return
        if not self.counts_on_device:
            raise BackendError(
                "a step in a graph would repeat its noise at each replay: capture needs capturable=True from the start"
            )
        if side is None:
            raise BackendError("a step in a graph needs all tensors on one GPU, and no AdaptiveResolution: the host would wait")

    def only_builds_state(self, step_input: StepInput) -> bool:
        """Whether this is the step that checkpoint tools take to build the states: the first, lr 0, all gradients 0."""
        if self.has_stepped or any(values["lr"] != 0.0 or values.get("device_lr") is not None for values in step_input.hypers):
            return False
        if self.is_capturing():  # the host may not ask
            return False
        fresh = all(int(item.state["step"]) == 0 for bucket in self.buckets for item in bucket.items)
        return fresh and not any(bool(grad.any()) for grad in step_input.grads)

    def step(self, step_input: StepInput, measures: bool, before: Observed | None = None) -> Observed | None:
        """Steps every bucket; with `measures` returns the statistics of the step, or of the one `before` if it is skipped.

        Raises:
            TensorError: a step counter is out of range.
        """
        self.check_counters(waits=step_input.side is None)
        self.has_stepped = True
        try:
            statistics = step_plans(self._split(step_input), measures)
            if self.overrun is not None:
                self.overrun.look(self.is_capturing())
        finally:
            increment_version(self.watch.seen.params)  # so that autograd notices a graph that saved an old value
        if not measures:
            return None
        observed = Observed(self.list_observed(), statistics, *self.note_hypers(step_input))
        return unless_skipped(observed, before, None if step_input.side is None else step_input.side.found_inf)

    def check_counters(self, waits: bool = True) -> None:
        """Refuses a step counter at its end; without `waits` those on a device are not looked at.

        Raises:
            TensorError: a step counter is out of range.
        """
        fit = all(plan.counters_fit() for plan in self.plans)
        if waits:
            counted = (item.state["step"] for bucket in self.buckets if bucket.counts_on_device for item in bucket.items)
            fit = fit and all(0 <= int(step) < COUNTER_END for step in counted)
        if not fit:
            raise TensorError("a state's step left [0, 2^32 - 1), which the draws are counted by")

    def list_observed(self) -> list[ObservedTensor]:
        """What the metrics have to know of each tensor."""
        items = [(bucket, item) for bucket in self.buckets for item in bucket.items]
        return [ObservedTensor(item.name, item.group, item.param.numel(), bucket.rule) for bucket, item in items]

    def note_hypers(self, step_input: StepInput) -> tuple[list[dict[str, Any]], Tensor | None]:
        """The hyper-parameters of a step just taken, and the steps that tensors took where the device looks them up by these."""
        lrs = [values.get("device_lr") for values in step_input.hypers]
        hypers = [
            values if lr is None else {**values, "device_lr": lr.detach().clone()}
            for values, lr in zip(step_input.hypers, lrs, strict=True)
        ]
        if not any(values.get("schedule") for values in hypers):
            return hypers, None
        return hypers, torch.stack([item.state["step"] for bucket in self.buckets for item in bucket.items])

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
    all_names = buckets.name_params(optimizer.param_groups)
    names = iter(all_names)
    resolved = resolve_groups(optimizer, range(len(optimizer.param_groups)))
    hyper.check_uniform(resolved)
    buckets.check_noise_on(optimizer.param_groups, all_names)
    found: dict[tuple[Any, ...], Bucket] = {}
    idle: list[Tensor] = []
    stepped = 0
    for index, group in enumerate(optimizer.param_groups):
        rule, noisy = optimizer.rule_of(group), buckets.names_with_noise(group)
        for param in group["params"]:
            name = next(names)
            if param.grad is None:
                idle.append(param)
                continue
            buckets.check_param(name, param)
            buckets.check_grad(name, param, param.grad)
            dtypes = (param.dtype, param.grad.dtype, buckets.state_dtype_for(param, group["state_dtype"]))
            bucket = Bucket(rule, param.device, dtypes, RULES[rule].states, len(optimizer.param_groups))
            bucket = found.setdefault((rule, param.device, dtypes), bucket)
            bucket.levy |= resolved[index]["noise"] == LEVY
            key = buckets.tensor_key(resolved[index]["seed"], name)
            bucket.items.append(
                Item(param, name, key, index, stepped, noise=noisy is None or buckets.canonical_name(name) in noisy)
            )
            stepped += 1
    return list(found.values()), idle
