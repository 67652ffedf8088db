"""state_dict and back: what may be saved, what fits, and dtypes kept."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import buckets, hyper, schedules
from .errors import HyperparameterError, StateDictError, TensorError
from .quantizers import AdaptiveResolution, BlockGrid, CalibratedResolution, Compensation, Grid, LogResolution
from .reference_rules import RULES
from .scalar_values import as_counter

if TYPE_CHECKING:
    from .optim.base import LangevinOptimizer

NUMERICS_VERSION = 1  # grows with every change of the step's bits: see "Numerics" in CHANGELOG.md

COOLINGS = (schedules.Cooling, schedules.LogCooling, schedules.Cyclical)
SAVED_TYPES = (schedules.Piecewise, schedules.Linear, schedules.Cosine, *COOLINGS, LogResolution, Compensation)

torch.serialization.add_safe_globals(
    [Grid, BlockGrid, AdaptiveResolution, CalibratedResolution, *SAVED_TYPES]
)  # torch.load(weights_only=True) takes them


def is_saved(value: Any) -> bool:
    """Whether a hyper-parameter goes into a state_dict: all but callables of the user's own."""
    if isinstance(value, Grid):
        return is_saved(value.resolution)
    return not callable(value) or isinstance(value, (*SAVED_TYPES, Tensor))


def strip_callables(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state_dict without the user's callables, which cannot be saved."""
    groups = [{key: value for key, value in group.items() if is_saved(value)} for group in state_dict["param_groups"]]
    return {**state_dict, "param_groups": groups}


@contextmanager
def hooks_around_load(optimizer: LangevinOptimizer, state_dict: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Runs the load hooks around the whole of loading: what pre-hooks return is checked, post-hooks have the last word."""
    before, after = optimizer._optimizer_load_state_dict_pre_hooks, optimizer._optimizer_load_state_dict_post_hooks
    loaded: Any = dict(state_dict)  # hooks may change it, not the caller's
    for hook in before.values():
        loaded = hook(optimizer, loaded) or loaded
    optimizer._optimizer_load_state_dict_pre_hooks, optimizer._optimizer_load_state_dict_post_hooks = OrderedDict(), OrderedDict()
    try:
        yield loaded
    finally:
        optimizer._optimizer_load_state_dict_pre_hooks, optimizer._optimizer_load_state_dict_post_hooks = before, after
    for post_hook in after.values():
        post_hook(optimizer)


def check(optimizer: LangevinOptimizer, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The state_dict, completed with the callables that the optimizer has now.

    Raises:
        StateDictError: it misses a part, or has other groups, sizes, hyper-parameters, states or shapes.
    """
    try:
        groups, states = state_dict["param_groups"], state_dict["state"]
        sizes = [len(group["params"]) for group in groups]
    except (KeyError, TypeError) as error:
        raise StateDictError(f"not an optimizer's state_dict: {error!r} is missing or of a wrong type") from None
    own = optimizer.param_groups
    if sizes != [len(group["params"]) for group in own]:
        mine = [len(group["params"]) for group in own]
        raise StateDictError(f"state_dict has groups of {sizes} parameters, the optimizer of {mine}")
    completed = [
        {**{key: value for key, value in group.items() if key not in ("params", hyper.EXPONENT) and key not in saved}, **saved}
        for group, saved in zip(own, groups, strict=True)
    ]
    if not isinstance(states, Mapping):
        raise StateDictError(f"not an optimizer's state_dict: its state is of type {type(states).__name__}")
    known = {"step"}.union(*(RULES[rule].states for rule in optimizer.rules))
    for index, (group, saved) in enumerate(zip(own, completed, strict=True)):
        check_rules(optimizer, f"state_dict, param group {index}", groups[index])
        try:
            optimizer.resolve(saved, 1)
            for param in group["params"]:
                buckets.state_dtype_for(param, saved["state_dtype"])
        except HyperparameterError as error:
            raise StateDictError(f"state_dict, param group {index}: {error}") from None
        for identity, param in zip(saved["params"], group["params"], strict=True):
            check_state(f"state_dict, parameter {identity}", param, states.get(identity, {}), known)
    try:
        hyper.check_uniform(completed)
        buckets.check_noise_on(completed, buckets.name_params(completed))
    except HyperparameterError as error:
        raise StateDictError(f"state_dict: {error}") from None
    accept_version(completed)
    return {**state_dict, "param_groups": completed}


def check_rules(optimizer: LangevinOptimizer, told: str, saved: Mapping[str, Any]) -> None:
    """Refuses a group of another rule, whose states have the same names but may mean something else."""

    def names_of(rules: Iterable[str]) -> set[str]:
        return {hyper.GROUP_NAMES.get(name, name) for rule in rules for name in RULES[rule].hypers}

    own = names_of(optimizer.rules)
    foreign = {name for name in names_of(RULES) - own if name in saved}
    missing = {name for name in own if name not in saved and not getattr(optimizer.rule_fields[name], "scheduled", False)}
    if foreign or ("numerics_version" in saved and missing):
        found = ", ".join(sorted(foreign)) if foreign else f"no {', '.join(sorted(missing))}"
        known = ", ".join(optimizer.rules)
        raise StateDictError(f"{told}: it was saved by an optimizer of another rule, which has {found}; known here: {known}")


def accept_version(groups: list[dict[str, Any]]) -> None:
    """Says so if the state was saved by a version whose steps have other bits."""
    versions = {group["numerics_version"] for group in groups}
    if versions != {NUMERICS_VERSION}:
        saved = ", ".join(sorted(map(str, versions)))
        told = f"saved by numerics version {saved}, this is {NUMERICS_VERSION}: the run goes on with other bits"
        warnings.warn(told, stacklevel=4)
    for group in groups:
        group["numerics_version"] = NUMERICS_VERSION


def check_state(told: str, param: Tensor, state: Any, known: set[str]) -> None:
    """Refuses states of one parameter that the rule does not have, of another shape, or of a type that no kernel takes."""
    if not isinstance(state, Mapping):
        raise StateDictError(f"{told}: its state is of type {type(state).__name__}")
    for name, value in state.items():
        if name not in known:
            raise StateDictError(f"{told}: {name!r} is a state of another rule; known: {sorted(known)}")
        if value is None:
            continue
        if name == "step":
            if as_counter(value) is None:
                raise StateDictError(f"{told}: step must be an integer in [0, 2^32 - 1), got {value!r}")
        elif not isinstance(value, Tensor) or value.shape != param.shape:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise StateDictError(f"{told}: {name} must have shape {tuple(param.shape)}, got {found}")
        else:
            try:
                buckets.check_tensor("state", name, value)
            except TensorError as error:
                raise StateDictError(f"{told}: {error}") from None


def restore_dtypes(optimizer: LangevinOptimizer, state_dict: Mapping[str, Any]) -> None:
    """Puts states back in the dtype in which they were saved: torch casts them to the parameter's, which is lossy.

    Counters are cloned, so that two optimizers loaded from one state_dict do not share them.
    """
    for group, saved in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
        for identity, param in zip(saved["params"], group["params"], strict=True):
            for name, value in state_dict["state"].get(identity, {}).items():
                if value is None:
                    optimizer.state[param].pop(name, None)
                elif isinstance(value, Tensor):
                    device = "cpu" if name == "step" else param.device
                    optimizer.state[param][name] = value.detach().to(device, copy=True, memory_format=torch.preserve_format)
