"""Memory that a step would write twice, or overwrite before it is read, is refused; gradients may overlap each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import SGLD, TensorError

from .snapshots import unchanged

BACKENDS = ("native", "reference")


class Pair:
    """An optimizer of the parameters a and b of 6 elements, with steps taken; tensors to lay over each other."""

    def __init__(self, backend: str, steps_before: int) -> None:
        self.a, self.b = Parameter(torch.ones(6)), Parameter(torch.full((6,), 2.0))
        self.optimizer = SGLD([("a", self.a), ("b", self.b)], 0.1, temperature=0.0, momentum=0.9, backend=backend)
        self.set_grads()
        for _ in range(steps_before):
            self.optimizer.step()
        for param in (self.a, self.b):  # as if loaded
            state = self.optimizer.state[param]
            state.setdefault("step", torch.tensor(0))
            state.setdefault("momentum_buffer", torch.zeros(6))

    def set_grads(self) -> None:
        """Gradients of their own memory."""
        self.a.grad, self.b.grad = torch.ones(6), torch.ones(6)

    def velocity(self, param: Parameter) -> Tensor:
        """A parameter's state."""
        return self.optimizer.state[param]["momentum_buffer"]

    def lay(self, param: Parameter, name: str, tensor: Tensor) -> None:
        """Puts a tensor in a state's place."""
        self.optimizer.state[param][name] = tensor


def inside(tensor: Tensor, from_behind: bool = False) -> Tensor:
    """Memory of 6 elements that begins with the tensor's last one, or ends with its first."""
    larger = torch.zeros(17)
    larger[5:11] = tensor.detach()
    tensor.data = larger[5:11]
    return larger[:6] if from_behind else larger[10:16]


OVERLAPS: dict[str, tuple[Callable[[Pair], object], tuple[str, str]]] = {
    "a gradient is its parameter": (lambda pair: setattr(pair.b, "grad", pair.b.detach()), ("gradient of b", "parameter b")),
    "a gradient is another parameter": (lambda pair: setattr(pair.b, "grad", pair.a.detach()), ("gradient of b", "parameter a")),
    "a gradient over an end": (lambda pair: setattr(pair.b, "grad", inside(pair.a)), ("gradient of b", "parameter a")),
    "a gradient over a beginning": (
        lambda pair: setattr(pair.b, "grad", inside(pair.a, from_behind=True)),
        ("gradient of b", "parameter a"),
    ),
    "a gradient is a state": (
        lambda pair: setattr(pair.b, "grad", pair.velocity(pair.a)),
        ("gradient of b", "state momentum_buffer of a"),
    ),
    "a state is its parameter": (
        lambda pair: pair.lay(pair.b, "momentum_buffer", pair.b.detach()),
        ("parameter b", "state momentum_buffer of b"),
    ),
    "a state is another parameter": (
        lambda pair: pair.lay(pair.a, "momentum_buffer", pair.b.detach()),
        ("parameter b", "state momentum_buffer of a"),
    ),
    "a state over an end": (
        lambda pair: pair.lay(pair.b, "momentum_buffer", inside(pair.velocity(pair.a))),
        ("state momentum_buffer of a", "state momentum_buffer of b"),
    ),
    "one state for both": (
        lambda pair: pair.lay(pair.b, "momentum_buffer", pair.velocity(pair.a)),
        ("state momentum_buffer of a", "state momentum_buffer of b"),
    ),
    "one counter for both": (
        lambda pair: pair.lay(pair.b, "step", pair.optimizer.state[pair.a]["step"]),
        ("state step of a", "state step of b"),
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("kind", OVERLAPS)
def test_overlaps_are_refused(kind: str, steps_before: int, backend: str) -> None:
    pair = Pair(backend, steps_before)
    spoil, names = OVERLAPS[kind]
    spoil(pair)
    for _ in range(2):
        with unchanged(pair.optimizer), pytest.raises(TensorError, match="share memory") as error:
            pair.optimizer.step()
        assert all(name in str(error.value) for name in names)
    pair.set_grads()
    for param in (pair.a, pair.b):
        pair.lay(param, "momentum_buffer", torch.zeros(6))
        pair.lay(param, "step", torch.tensor(1))
    pair.optimizer.step()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps_before", [0, 2])
def test_gradients_may_overlap_each_other(steps_before: int, backend: str) -> None:
    shared, apart = Pair(backend, steps_before), Pair(backend, steps_before)
    memory = torch.arange(9.0)
    for pair, copy in ((shared, memory), (apart, memory.clone())):
        pair.a.grad, pair.b.grad = memory[:6], copy[3:]
        pair.optimizer.step()
    assert torch.equal(shared.a, apart.a) and torch.equal(shared.b, apart.b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_gradient_that_is_copied_first_may_lie_anywhere(steps_before: int, backend: str) -> None:
    results = []
    for overlapping in (False, True):
        param = Parameter(torch.arange(9.0).view(3, 3))
        optimizer = SGLD([param], 0.1, temperature=0.0, momentum=0.9, backend=backend)
        for _ in range(steps_before):
            param.grad = torch.ones(3, 3)
            optimizer.step()
        param.grad = param.detach().t() if overlapping else param.detach().t().clone(memory_format=torch.contiguous_format)
        optimizer.step()
        results.append(param)
    assert torch.equal(*results)
