"""The cheap test, each step, that a cached plan still describes the optimizer; natively in one pass over all tensors."""

from __future__ import annotations

import operator
from collections.abc import Iterable, MutableSequence, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .buckets import Bucket, has_memory, is_copied, match_layout, memory_of, overlaps
from .native_module import native

get_grad = operator.attrgetter("grad")
Found = tuple[list[Tensor], MutableSequence[int], list[int]]  # gradients, addresses, the places of those to copy first


class Seen(NamedTuple):
    """What a plan rests on, as it was when the plan was made. The native module knows the fields by their order."""

    params: tuple[Tensor, ...]  # those of all buckets in order
    idle: tuple[Tensor, ...]  # the parameters without a gradient
    group_lists: tuple[list[Tensor], ...]  # each group's own list of parameters
    group_members: tuple[tuple[Tensor, ...], ...]  # and what it held
    state_dicts: tuple[dict[str, Any], ...]  # for each of params
    state_names: tuple[tuple[str, ...], ...]  # for each of params
    states: tuple[Tensor, ...]  # the tensors that these names had in these dicts, in this order
    all_states: tuple[dict[str, Any], ...]  # of every parameter that had states


class Test(Protocol):
    """Remembers the memory and form of the tensors seen, and compares them again."""

    def read(self, seen: Seen, groups: list[dict[str, Any]], state: dict[Any, Any]) -> Found | None:
        """The gradients, or None if anything changed."""


def see(buckets: Sequence[Bucket], idle: Iterable[Tensor], groups: Sequence[dict[str, Any]], state: dict[Any, Any]) -> Seen:
    """What the plans of these buckets rest on."""
    items = [(item, ("step", *bucket.state_names)) for bucket in buckets for item in bucket.items]
    return Seen(
        params=tuple(item.param for item, _ in items),
        idle=tuple(idle),
        group_lists=tuple(group["params"] for group in groups),
        group_members=tuple(tuple(group["params"]) for group in groups),
        state_dicts=tuple(item.state for item, _ in items),
        state_names=tuple(names for _, names in items),
        states=tuple(item.state[name] for item, names in items for name in names),
        all_states=tuple(state.values()),
    )


def form_of(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor lies and what it looks like."""
    return tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.stride()


class SlowTest:
    """The test in Python, which needs no native module and says what the native one tests.

    What torch's setter of ``grad`` guarantees is tested again, since ``grad.data = ...`` and ``grad.resize_(...)`` go around
    it. A parameter or state that turns into a negated view in place would go unnoticed; torch has no public way to do that.
    """

    def __init__(self, seen: Seen, grads: Sequence[Tensor]) -> None:
        """Reads the facts."""
        self.params = list(map(form_of, seen.params))
        self.states = list(map(form_of, seen.states))
        self.grads = [(grad.dtype, grad.device) for grad in grads]
        self.written = sorted(filter(None, map(memory_of, (*seen.params, *seen.states))))

    def read(self, seen: Seen, groups: list[dict[str, Any]], state: dict[Any, Any]) -> Found | None:
        """The gradients, or None if anything changed."""
        if not same_groups(seen, groups) or not same_states(seen, state) or any(param.grad is not None for param in seen.idle):
            return None
        try:
            if list(map(form_of, seen.params)) != self.params or list(map(form_of, seen.states)) != self.states:
                return None
            grads = list(map(get_grad, seen.params))
            if not all(map(self.fits, seen.params, grads, self.grads)):
                return None
        except (AttributeError, TypeError, RuntimeError):  # no gradient, or a tensor without memory
            return None
        to_copy = [i for i, (param, grad) in enumerate(zip(seen.params, grads, strict=True)) if is_copied(param, grad)]
        return grads, [grad.data_ptr() for grad in grads], to_copy

    def fits(self, param: Tensor, grad: Tensor, form: tuple[torch.dtype, torch.device]) -> bool:
        """Whether a gradient is of the expected form, has memory, and shares none with what the step writes."""
        if (grad.dtype, grad.device) != form or grad.shape != param.shape or (grad.numel() and not has_memory(grad)):
            return False
        return is_copied(param, grad) or not overlaps(memory_of(grad), self.written)


def same_groups(seen: Seen, groups: Sequence[dict[str, Any]]) -> bool:
    """Whether the groups hold the same parameters."""
    if len(groups) != len(seen.group_lists):
        return False
    now = [group["params"] for group in groups]
    return all(map(operator.is_, now, seen.group_lists)) and all(
        len(params) == len(members) and all(map(operator.is_, params, members))
        for params, members in zip(now, seen.group_members, strict=True)
    )


def same_states(seen: Seen, state: dict[Any, Any]) -> bool:
    """Whether the states that the plan knows are the optimizer's; parameters it does not step may have got states since."""
    if len(state) < len(seen.all_states) or not all(map(operator.is_, state.values(), seen.all_states)):
        return False
    found = (mapping.get(name) for mapping, names in zip(seen.state_dicts, seen.state_names, strict=True) for name in names)
    return all(map(operator.is_, found, seen.states))


def make_test(seen: Seen) -> Test:
    """The native test, or the one in Python where there is no native module or a tensor that it cannot look at."""
    grads = tuple(map(get_grad, seen.params))
    exchange = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if native is not None and exchange is not None:
        try:
            return native.Watch(seen, grads, exchange, Tensor.is_neg, has_memory)  # type: ignore[no-any-return]
        except (ValueError, RuntimeError):  # another major version of the interface; memory or groups that it cannot describe
            pass
    return SlowTest(seen, grads)


class Watch:
    """What a cached plan rests on, and the test that it still does."""

    def __init__(self, buckets: Sequence[Bucket], idle: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Remembers where everything lies; `idle` are the parameters without a gradient."""
        self.seen = see(buckets, idle, optimizer.param_groups, optimizer.state)
        self.test = make_test(self.seen)

    def holds_apart_from_grads(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer has the same parameters and states as objects, wherever their memory lies."""
        return same_groups(self.seen, optimizer.param_groups) and same_states(self.seen, optimizer.state)

    def read_grads(self, optimizer: torch.optim.Optimizer) -> tuple[list[Tensor], MutableSequence[int]] | None:
        """The gradients, each in its parameter's memory order, and their addresses; None if anything changed."""
        found = self.test.read(self.seen, optimizer.param_groups, optimizer.state)
        if found is None:
            return None
        grads, addresses, to_copy = found
        for i in to_copy:  # an order of its own, or a view that says "negate me" and whose memory is not what it means
            grads[i] = match_layout(self.seen.params[i], grads[i].resolve_neg())
            addresses[i] = grads[i].data_ptr()
        return grads, addresses
