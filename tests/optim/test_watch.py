"""The native test that a plan still holds says what the one in Python says, whatever is done to the optimizer's tensors."""

from __future__ import annotations

import collections
import ctypes
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import SGLD, _native, group_hypers, watch

from .wrong_tensors import WRONG_GRADS

CAPSULE = b"dlpack_exchange_api"


class Laboratory:
    """An optimizer over tensors of several forms, with both tests over what its plan has seen."""

    def __init__(self) -> None:
        shapes = [(4, 3), (5,), (), (0, 2), (2, 1, 3)]
        self.params = [Parameter(torch.randn(shape)) for shape in shapes]
        self.params.append(Parameter(torch.randn(3, 4).t()))  # (4, 3), in another order
        self.params.append(Parameter(torch.randn(4, 3, dtype=torch.bfloat16)))
        self.params[1].data = torch.randn(16)[11:]
        self.idle = Parameter(torch.randn(3))
        for param in self.params:
            param.grad = torch.randn_like(param)
        self.optimizer = SGLD(
            [{"params": self.params[:3]}, {"params": [*self.params[3:], self.idle]}], 0.1, temperature=0.0, momentum=0.9
        )
        self.optimizer.step()
        found = self.optimizer._executions.latest
        assert found is not None and isinstance(found.watch.test, _native.Watch if watch.native else watch.SlowTest)
        self.seen, self.native = found.watch.seen, found.watch.test
        self.slow = watch.SlowTest(self.seen, [param.grad for param in self.seen.params if param.grad is not None])

    def state(self, index: int) -> dict[str, Any]:
        """The states of a parameter."""
        return self.optimizer.state[self.params[index]]

    def ask(self) -> Any:
        """What both tests say, once they agree: None, or the addresses and the places of what must be copied."""
        given = (self.seen, self.optimizer.param_groups, self.optimizer.state)
        native, slow = self.native.read(*given), self.slow.read(*given)
        assert (native is None) == (slow is None)
        if native is None or slow is None:
            return None
        assert all(a is b for a, b in zip(native[0], slow[0], strict=True))
        assert native[2] == slow[2]
        read_in_place = [i for i in range(len(native[0])) if i not in native[2]]
        assert [native[1][i] for i in read_in_place] == [slow[1][i] for i in read_in_place]
        return native[2]


def replace_grad(lab: Laboratory, index: int, grad: Tensor | None) -> None:
    lab.params[index].grad = grad


def swap_states(lab: Laboratory) -> None:
    first, second = lab.params[0], lab.params[5]
    lab.optimizer.state[first], lab.optimizer.state[second] = lab.optimizer.state[second], lab.optimizer.state[first]


def append_state(lab: Laboratory) -> None:
    lab.optimizer.state[lab.idle] = {"step": torch.tensor(3)}


def drop_group(lab: Laboratory) -> None:
    del lab.optimizer.param_groups[1]


def assign(container: Any, key: Any, value: Any) -> None:
    container[key] = value


def before(param: Parameter) -> Tensor:
    """Memory of the form (4, 3) that ends with the parameter's first element, which stays where it is."""
    storage = param.untyped_storage()
    assert storage.nbytes() >= 64 and param.storage_offset() == 11
    return torch.empty(0).set_(storage, 0, (4, 3))


def widen(tensor: Tensor) -> None:
    """Makes a contiguous tensor a view with gaps of larger memory, at the same address."""
    storage = torch.zeros(64, dtype=tensor.dtype)
    tensor.data = storage[: tensor.numel()].view(tensor.shape)
    tensor.data = storage.as_strided(tensor.shape, tuple(2 * stride for stride in tensor.stride()))


# What leaves the plan as it is; the places of the gradients to copy first.
HARMLESS: dict[str, tuple[Callable[[Laboratory], object], list[int]]] = {
    "nothing": (lambda lab: None, []),
    "other gradients": (lambda lab: [replace_grad(lab, i, torch.randn_like(p)) for i, p in enumerate(lab.params)], []),
    "a gradient in another order": (lambda lab: replace_grad(lab, 0, torch.randn(3, 4).t()), [0]),
    "a contiguous gradient of one that is not": (lambda lab: replace_grad(lab, 5, torch.randn(4, 3)), [5]),
    "a gradient with gaps": (lambda lab: replace_grad(lab, 1, torch.randn(10)[::2]), [1]),
    "an expanded gradient": (lambda lab: replace_grad(lab, 0, torch.randn(3).expand(4, 3)), [0]),
    "a dimension of size 1 with any stride": (
        lambda lab: replace_grad(lab, 4, torch.randn(6).as_strided((2, 1, 3), (3, 17, 1))),
        [],
    ),
    "a negated gradient": (lambda lab: replace_grad(lab, 1, torch._neg_view(torch.randn(5))), [1]),
    "a negated gradient of one element": (lambda lab: replace_grad(lab, 2, torch._neg_view(torch.randn(()))), [2]),
    "a gradient negated in place": (lambda lab: torch._C._set_neg(lab.params[0].grad, True), [0]),
    "gradients that share memory": (
        lambda lab: [replace_grad(lab, 0, (g := torch.randn(4, 3))), replace_grad(lab, 4, g.view(-1)[:6].view(2, 1, 3))],
        [],
    ),
    "a gradient in another order that overlaps its parameter": (
        lambda lab: replace_grad(lab, 0, lab.params[5].detach()),
        [0],
    ),
    "states of a parameter that is not stepped": (append_state, []),
    "in-place changes": (lambda lab: [p.detach().add_(1) for p in (*lab.params, lab.state(0)["step"])], []),
}


def assign_data(param: Parameter, data: Tensor) -> None:
    """Exchanges what a gradient holds, which torch does not check."""
    assert param.grad is not None
    param.grad.data = data


def free_inside(lab: Laboratory, index: int, form: Tensor) -> None:
    """Gives a gradient of this form inside a larger storage, and frees that: the view keeps an address, its offset."""
    grad = torch.randn(100).as_strided(form.shape, form.stride(), 32)
    replace_grad(lab, index, grad)
    grad.untyped_storage().resize_(0)
    assert grad.data_ptr() == 128


# What calls for another plan.
CHANGES: dict[str, Callable[[Laboratory], object]] = {
    "no gradient": lambda lab: replace_grad(lab, 1, None),
    "a gradient of an idle parameter": lambda lab: setattr(lab.idle, "grad", torch.zeros(3)),
    "a parameter's memory": lambda lab: setattr(lab.params[0], "data", torch.randn(4, 3)),
    "a parameter's order": lambda lab: setattr(lab.params[0], "data", lab.params[0].data.view(3, 4).t()),
    "a parameter's shape": lambda lab: setattr(lab.params[0], "data", lab.params[0].data.view(3, 4)),
    "a parameter's dimensions": lambda lab: setattr(lab.params[0], "data", lab.params[0].data.view(12)),
    "a parameter's dtype": lambda lab: setattr(lab.params[6], "data", lab.params[6].data.view(torch.float16)),
    "a parameter with gaps": lambda lab: widen(lab.params[0]),
    "a parameter cut short": lambda lab: setattr(lab.params[1], "data", lab.params[1].data[:3]),
    "a parameter's memory freed": lambda lab: lab.params[0].untyped_storage().resize_(0),
    "a gradient's shape": lambda lab: assign_data(lab.params[0], torch.randn(3, 4)),
    "a gradient resized": lambda lab: lab.params[0].grad.resize_(2, 3),  # type: ignore[union-attr]
    "a gradient's dtype": lambda lab: assign_data(lab.params[0], torch.zeros(4, 3, dtype=torch.float16)),
    "a gradient's memory freed": lambda lab: lab.params[0].grad.untyped_storage().resize_(0),  # type: ignore[union-attr]
    "the memory of a gradient inside a larger tensor freed": lambda lab: free_inside(lab, 1, torch.randn(5)),
    "the memory of a gradient in another order freed": lambda lab: free_inside(lab, 0, torch.randn(3, 4).t()),
    "a gradient of zeros that are not stored": lambda lab: replace_grad(lab, 1, torch._efficientzerotensor((5,))),
    "a gradient that is its parameter": lambda lab: replace_grad(lab, 0, lab.params[0].detach()),
    "a gradient inside another parameter": lambda lab: replace_grad(lab, 1, lab.params[0].detach().view(-1)[7:]),
    "a gradient over a parameter's beginning": lambda lab: replace_grad(lab, 0, before(lab.params[1])),
    "a gradient over the end of a state": lambda lab: replace_grad(
        lab,
        2,
        lab.state(0)["momentum_buffer"].view(-1)[11],  # a view of no dimensions
    ),
    "a state replaced": lambda lab: assign(lab.state(0), "momentum_buffer", torch.zeros(4, 3)),
    "a state replaced by a number": lambda lab: assign(lab.state(0), "step", 7),
    "a state removed": lambda lab: lab.state(1).pop("momentum_buffer"),
    "a state's memory": lambda lab: setattr(lab.state(0)["momentum_buffer"], "data", torch.zeros(4, 3)),
    "a state resized": lambda lab: lab.state(0)["momentum_buffer"].resize_(2, 3),
    "a state's order": lambda lab: lab.state(0)["momentum_buffer"].t_(),
    "a state's dtype": lambda lab: setattr(
        lab.state(0)["momentum_buffer"], "data", lab.state(0)["momentum_buffer"].view(torch.int32)
    ),
    "a counter's memory": lambda lab: setattr(lab.state(0)["step"], "data", torch.tensor(1)),
    "a counter's dtype": lambda lab: setattr(lab.state(0)["step"], "data", lab.state(0)["step"].view(torch.float64)),
    "states in another dict": lambda lab: assign(lab.optimizer.state, lab.params[0], dict(lab.state(0))),
    "states removed": lambda lab: lab.optimizer.state.pop(lab.params[6]),
    "all states removed": lambda lab: lab.optimizer.state.clear(),
    "states exchanged": swap_states,
    "a group removed": drop_group,
    "a group appended": lambda lab: lab.optimizer.param_groups.append(
        {**lab.optimizer.param_groups[0], "params": [Parameter(torch.ones(1))]}
    ),
    "a parameter appended": lambda lab: lab.optimizer.param_groups[0]["params"].append(Parameter(torch.ones(1))),
    "a parameter exchanged": lambda lab: assign(lab.optimizer.param_groups[0]["params"], 0, Parameter(torch.ones(4, 3))),
    "another list of parameters": lambda lab: assign(
        lab.optimizer.param_groups[0], "params", list(lab.optimizer.param_groups[0]["params"])
    ),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_leaves_the_plan_as_it_is(kind: str) -> None:
    lab = Laboratory()
    change, to_copy = HARMLESS[kind]
    for _ in range(2):  # the second read knows the addresses of the first
        change(lab)
        assert lab.ask() == to_copy


@pytest.mark.parametrize("kind", CHANGES)
def test_what_calls_for_another_plan(kind: str) -> None:
    lab = Laboratory()
    assert lab.ask() == []
    CHANGES[kind](lab)
    for _ in range(2):
        assert lab.ask() is None


@pytest.mark.parametrize("kind", WRONG_GRADS)
def test_wrong_gradients(kind: str) -> None:
    lab = Laboratory()
    WRONG_GRADS[kind][0](lab.params[0])
    assert lab.ask() is None


@pytest.mark.parametrize("kind", [tuple, collections.UserList])
@pytest.mark.parametrize("module", [_native, None])
def test_groups_whose_parameters_are_no_list(kind: type, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "native", module)
    lab = Laboratory()
    group = lab.optimizer.param_groups[0]
    group["params"] = kind(group["params"])
    lab.optimizer.step()
    latest = lab.optimizer._executions.latest
    lab.optimizer.step()
    assert lab.optimizer._executions.latest is latest and int(lab.state(0)["step"]) == 3
    group["params"] = kind(list(group["params"])[1:])
    lab.optimizer.step()
    assert [int(lab.state(i)["step"]) for i in range(2)] == [3, 4]


def test_an_address_that_was_copied_from_is_no_address_known_to_be_apart() -> None:
    lab = Laboratory()
    replace_grad(lab, 0, lab.params[5].detach().t().view(3, 4).t())
    assert lab.ask() == [0]
    replace_grad(lab, 0, lab.params[5].detach().t().view(4, 3))
    assert lab.ask() is None


def test_the_memory_of_the_gradient_before_in_another_order_is_copied_from() -> None:
    lab = Laboratory()
    assert lab.ask() == []
    replace_grad(lab, 0, lab.params[0].grad.view(3, 4).t())  # type: ignore[union-attr]
    assert lab.ask() == [0]


def test_an_interrupt_is_no_change() -> None:
    lab, interrupt = Laboratory(), Mock(side_effect=KeyboardInterrupt)
    grads = tuple(param.grad for param in lab.seen.params)
    test = _native.Watch(lab.seen, grads, Tensor.__dlpack_c_exchange_api__, interrupt, interrupt)  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        test.read(lab.seen, lab.optimizer.param_groups, lab.optimizer.state)


def test_a_tensor_s_data_stay_alive_no_longer_than_the_step() -> None:
    lab = Laboratory()
    lab.optimizer.step()
    found = lab.optimizer._executions.latest
    assert found is not None and found.grads is None


def test_without_a_native_module_the_step_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for module in (_native, None):
        monkeypatch.setattr(watch, "native", module)
        torch.manual_seed(0)
        params = [Parameter(torch.randn(4, 3)), Parameter(torch.randn(5))]
        optimizer = SGLD(params, 0.1, temperature=0.1, momentum=0.9, seed=1)
        for step in range(3):
            for i, param in enumerate(params):
                param.grad = None if (step, i) == (1, 1) else torch.randn(param.shape[::-1]).t()
            optimizer.step()
        results.append(params)
        assert isinstance(optimizer._executions.latest.watch.test, watch.SlowTest) == (module is None)  # type: ignore[union-attr]
    assert all(map(torch.equal, *results))


def make_table(major: int, older: int | None) -> Any:
    """A capsule with the header of an exchange table, and the header; nothing but the header may be read."""
    header = (ctypes.c_uint32 * 2)(major, 0), ctypes.c_void_p(older)
    table = (ctypes.c_char * 16).from_buffer_copy(b"".join(map(bytes, header)))
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return make(ctypes.addressof(table), CAPSULE, None), table


@pytest.mark.parametrize("has_older", [False, True])
def test_a_table_of_another_version_is_not_used(has_older: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Laboratory()
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    present = address(torch.Tensor.__dlpack_c_exchange_api__, CAPSULE)  # type: ignore[attr-defined]
    capsule, _table = make_table(9, present if has_older else None)
    monkeypatch.setattr(torch.Tensor, "__dlpack_c_exchange_api__", capsule)
    assert isinstance(watch.make_test(lab.seen), _native.Watch if has_older else watch.SlowTest)
    taken = group_hypers.steps_taken(lab.optimizer)
    assert taken == [1, 1]
