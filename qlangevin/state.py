"""state_dict and back: what may be saved, what fits, and dtypes kept."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import hyper, schedules
from .errors import HyperparameterError, StateDictError
from .quantizers import Grid
from .reference import RULES

if TYPE_CHECKING:
    from .optim.base import LangevinOptimizer

NUMERICS_VERSION = 1  # grows with every change of the step's bits: see "Numerics" in CHANGELOG.md

SAVED_TYPES = (schedules.Piecewise, schedules.Linear)

torch.serialization.add_safe_globals([Grid, *SAVED_TYPES])  # torch.load(weights_only=True) takes them


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
        {**{key: value for key, value in group.items() if key != "params" and key not in saved}, **saved}
        for group, saved in zip(own, groups, strict=True)
    ]
    for index, (group, saved) in enumerate(zip(own, completed, strict=True)):
        try:
            hyper.resolve(saved, optimizer.rule_fields, 1)
        except HyperparameterError as error:
            raise StateDictError(f"state_dict, param group {index}: {error}") from None
        version = saved["numerics_version"]
        if version != NUMERICS_VERSION:
            warnings.warn(
                f"saved by numerics version {version}, this is {NUMERICS_VERSION}: the run goes on with other bits", stacklevel=3
            )
            saved["numerics_version"] = NUMERICS_VERSION
        known = {"step"}.union(*(RULES[rule].states for rule in optimizer.rules))
        for identity, param in zip(saved["params"], group["params"], strict=True):
            check_state(identity, param, states.get(identity, {}), known)
    return {**state_dict, "param_groups": completed}


def check_state(identity: Any, param: Tensor, state: Mapping[str, Any], known: set[str]) -> None:
    """Refuses states of one parameter that the rule does not have, or of another shape."""
    for name, value in state.items():
        if value is None:
            continue
        if name not in known:
            raise StateDictError(
                f"state_dict, parameter {identity}: state {name!r} belongs to another rule; known: {sorted(known)}"
            )
        if name != "step" and (not isinstance(value, Tensor) or value.shape != param.shape):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise StateDictError(f"state_dict, parameter {identity}: {name} must have shape {tuple(param.shape)}, got {found}")


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
