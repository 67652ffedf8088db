"""Each group's hyper-parameters, resolved to the numbers of the coming step only where one of them changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from . import hyper
from .errors import HyperparameterError
from .levy import LARGEST_DRAW, LEVY, TAIL_INDEX
from .native_module import native
from .reference_numbers import round_once
from .reference_rules import RULES
from .scalar_values import LARGEST, as_counter

if TYPE_CHECKING:
    from .optim.base import LangevinOptimizer

Resolve = Callable[["LangevinOptimizer", Iterable[int]], list[dict[str, Any]]]
IsDynamic = Callable[[Any], bool]
Raw = tuple[Any, ...] | None  # the values that were resolved; None if they must be resolved each step


class GroupHypers:
    """The resolved hyper-parameters of every group, made anew only when one of them changed."""

    def __init__(
        self, optimizer: LangevinOptimizer, resolve: Resolve | None = None, is_dynamic: IsDynamic = hyper.is_dynamic
    ) -> None:
        """Resolves nothing yet; remembers what shapes the plan.

        Args:
            optimizer: whose groups.
            resolve: gives the hyper-parameters of some groups; resolve_groups if None.
            is_dynamic: whether a value has to be resolved before each step.
        """
        self.resolve, self.is_dynamic = resolve or resolve_groups, is_dynamic
        self.fields = ("state_dtype", *hyper.FIELDS, *optimizer.rule_fields)
        self.shapes = [shape_of(optimizer, group) for group in optimizer.param_groups]
        self.raw: list[Raw] = [None] * len(self.shapes)
        self.values: list[dict[str, Any]] = [{}] * len(self.shapes)

    def read(self, optimizer: LangevinOptimizer) -> bool:
        """Resolves the groups for the coming step; False if a change calls for another plan."""
        groups = optimizer.param_groups
        changed = changed_groups(groups, self.fields, self.raw)
        if not changed:
            return True
        if any(shape_of(optimizer, groups[index]) != self.shapes[index] for index in changed):
            return False
        found = dict(zip(changed, self.resolve(optimizer, changed), strict=True))
        hyper.check_uniform([found.get(index, values) for index, values in enumerate(self.values)])
        for index, values in found.items():  # only now: what was refused must be refused again
            raw = tuple(map(groups[index].__getitem__, self.fields))
            self.raw[index], self.values[index] = None if any(map(self.is_dynamic, raw)) else raw, values
        return True


def shape_of(optimizer: LangevinOptimizer, group: dict[str, Any]) -> tuple[Any, ...]:
    """The hyper-parameters that decide which tensors a plan has and how it treats them."""
    noise_on = group["noise_on"]
    return (
        optimizer.rule_of(group),
        group["state_dtype"],
        group["seed"],
        isinstance(group["noise"], str) and group["noise"] == LEVY,  # which not all backends draw
        tuple(noise_on) if isinstance(noise_on, list) else noise_on,
    )


def is_same(raw: tuple[Any, ...], before: Raw) -> bool:
    """Whether a group's values are the ones that were resolved."""
    try:
        return raw == before
    except (RuntimeError, ValueError):  # a tensor of several elements, say: resolving it gives the named error
        return False


def changed_groups_slowly(groups: Sequence[dict[str, Any]], fields: tuple[str, ...], raw: list[Raw]) -> list[int]:
    """The groups whose fields no longer have the values that were resolved."""
    now = (tuple(map(group.__getitem__, fields)) for group in groups)
    return [index for index, (values, before) in enumerate(zip(now, raw, strict=True)) if not is_same(values, before)]


changed_groups = changed_groups_slowly if native is None else native.changed_groups


def resolve_groups(optimizer: LangevinOptimizer, indices: Iterable[int]) -> list[dict[str, Any]]:
    """The hyper-parameters of some groups for the coming step: one more than the most that any of their parameters has taken.

    Raises:
        HyperparameterError: a value out of range; a noise beyond binary32.
    """
    fields = (*hyper.FIELDS, *optimizer.rule_fields)
    taken: list[int] | None = None
    resolved = []
    for index in indices:
        group = optimizer.param_groups[index]
        step = 1
        if any(hyper.needs_step(group[name]) for name in fields):
            taken = steps_taken(optimizer) if taken is None else taken
            step += taken[index]
        with naming_group(index):
            resolved.append(resolve_group(optimizer, group, step))
    return resolved


@contextmanager
def naming_group(index: int) -> Iterator[None]:
    """Adds the group to what a refused hyper-parameter is told with."""
    try:
        yield
    except HyperparameterError as error:
        raise HyperparameterError(f"{error} (param group {index})") from None


def resolve_group(optimizer: LangevinOptimizer, group: dict[str, Any], step: int) -> dict[str, Any]:
    """One group's hyper-parameters at a step.

    Raises:
        HyperparameterError: a value out of range; a noise beyond binary32.
    """
    values = optimizer.resolve(group, step)
    check_noise(optimizer.rule_of(group), values, step)
    return values


def check_noise(rule: str, values: dict[str, Any], step: int) -> None:
    """Refuses a noise whose standard deviation, or largest draw where it has none, is beyond binary32, which would write Inf.

    Raises:
        HyperparameterError: naming what it follows from.
    """
    lr, temperature = values["lr"], values["temperature"]
    if not (lr > 0 and temperature > 0):
        return
    deviation = math.sqrt(RULES[rule].noise_variance(values, step))
    if values["noise"] == LEVY and deviation > LARGEST / LARGEST_DRAW and round_once(lr) > 0:
        raise HyperparameterError(
            f"(lr temperature)^(1 / {TAIL_INDEX}) = {deviation:g} with lr = {lr!r} and {TAIL_INDEX} = {values[TAIL_INDEX]!r} at "
            f"step {step} is above {LARGEST / LARGEST_DRAW:g}: the largest draws of Levy noise would not be binary32 numbers"
        )
    if deviation > LARGEST and round_once(lr) > 0:  # there is no noise at an lr that binary32 takes for 0
        raise HyperparameterError(
            f"temperature = {temperature!r} with lr = {lr!r} at step {step} makes noise of standard deviation {deviation:g}; "
            f"the largest binary32 number is {LARGEST:g}"
        )


def check_rounding(rule: str, values: dict[str, Any]) -> None:
    """Refuses a corrected rounding where it has no noise to correct: the noise of a velocity does not move the parameter itself.

    Raises:
        HyperparameterError: naming what stands against it.
    """
    if not (values["corrected_param"] and values["temperature"] > 0.0):
        return
    averaged = values["noise"].startswith(hyper.AVERAGED)
    if averaged or RULES[rule].site == "velocity":
        told = "integrator = 'leimkuhler_matthews', whose noise is shared by two steps" if averaged else "noise in a velocity"
        raise HyperparameterError(f"param_rounding = {hyper.CORRECTED!r} with temperature > 0 does not go with {told}")


def steps_taken_slowly(groups: Sequence[dict[str, Any]], state: dict[Any, Any]) -> list[int]:
    """For each group the most steps that any of its parameters has taken; what is no counter is refused later, by its name."""
    steps = [[as_counter(state.get(param, {}).get("step", 0)) or 0 for param in group["params"]] for group in groups]
    return [max(each, default=0) for each in steps]


def steps_taken(optimizer: LangevinOptimizer) -> list[int]:
    """For each group the most steps that any of its parameters has taken."""
    if native is not None and (exchange := getattr(Tensor, "__dlpack_c_exchange_api__", None)) is not None:
        found = native.steps_taken(optimizer.param_groups, optimizer.state, exchange)
        if found is not None:  # else a counter of another form, which the plan will replace
            return list(found)
    return steps_taken_slowly(optimizer.param_groups, optimizer.state)
