"""The state tensors: torch's keys, shapes and dtypes, lazy, and free for the user to replace; parameters that are swapped."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from qlangevin import SGLD, TensorError

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import assert_same, states_by_name, unchanged

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    ("param", "wanted", "stored"),
    [(F32, None, F32), (BF16, None, BF16), (F16, None, F32), (F32, BF16, BF16), (BF16, F32, F32), (F16, BF16, BF16)],
)
def test_keys_shapes_and_dtypes(param: torch.dtype, wanted: torch.dtype | None, stored: torch.dtype, backend: str) -> None:
    problem = make_problem(dtype=param)
    optimizer = make_sgld(problem.named(), momentum=0.9, state_dtype=wanted, backend=backend)
    problem.run(optimizer, [1, 2])
    for tensor in problem.list():
        state = optimizer.state[tensor]
        assert set(state) == {"step", "momentum_buffer"}
        assert state["momentum_buffer"].dtype == stored and state["momentum_buffer"].shape == tensor.shape
        assert state["step"].ndim == 0 and int(state["step"]) == 2


def test_without_momentum_only_the_counter_is_kept() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), temperature=1.0)
    problem.run(optimizer, [1])
    assert all(set(optimizer.state[param]) == {"step"} for param in problem.list())


def test_binary64_parameters_have_binary64_states() -> None:
    problem = make_problem(dtype=torch.float64)
    optimizer = make_sgld(problem.named(), momentum=0.9, backend="reference")
    problem.run(optimizer, [1])
    assert all(optimizer.state[param]["momentum_buffer"].dtype == torch.float64 for param in problem.list())


def test_states_are_lazy_and_keyed_by_parameters() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    assert len(optimizer.state) == 0 and optimizer.state_dict()["state"] == {}
    problem.run(optimizer, [1])
    assert set(map(id, optimizer.state)) == set(map(id, problem.list()))


def test_states_lie_in_memory_like_their_parameters() -> None:
    problem = make_problem({"image": (2, 3, 4, 5)})
    param = problem.params["image"]
    param.data = param.data.to(memory_format=torch.channels_last)
    optimizer = make_sgld(problem.named(), momentum=0.9)
    problem.run(optimizer, [1])
    assert optimizer.state[param]["momentum_buffer"].stride() == param.stride()


def transpose_storage(tensor: Tensor) -> Tensor:
    """The same values in column order."""
    order = tuple(range(tensor.ndim))[::-1]
    return torch.empty(tensor.shape[::-1], dtype=tensor.dtype).permute(order).copy_(tensor)


# What a user, or a framework that moves states, does between two steps; none of it may change a bit.
REPLACEMENTS: dict[str, Callable[[SGLD, Problem], None]] = {
    "clones": lambda o, p: [o.state[q].update({k: v.clone() for k, v in o.state[q].items()}) for q in p.list()],  # type: ignore
    "new dicts": lambda o, p: [o.state.__setitem__(q, dict(o.state[q])) for q in p.list()],  # type: ignore
    "memory swapped by .data": lambda o, p: [
        setattr(o.state[q]["momentum_buffer"], "data", o.state[q]["momentum_buffer"].clone()) for q in p.list()
    ],  # type: ignore
    "counters swapped by .data": lambda o, p: [setattr(o.state[q]["step"], "data", o.state[q]["step"].clone()) for q in p.list()],  # type: ignore
    "another memory order": lambda o, p: [
        o.state[q].update(momentum_buffer=transpose_storage(o.state[q]["momentum_buffer"])) for q in p.list()
    ],  # type: ignore
    "a wider dtype": lambda o, p: [o.state[q].update(momentum_buffer=o.state[q]["momentum_buffer"].double()) for q in p.list()],  # type: ignore
    "a float counter, as torch's": lambda o, p: [o.state[q].update(step=o.state[q]["step"].float()) for q in p.list()],  # type: ignore
    "an int counter": lambda o, p: [o.state[q].update(step=int(o.state[q]["step"])) for q in p.list()],  # type: ignore
    "parameters swapped by .data": lambda o, p: [setattr(q, "data", q.data.clone()) for q in p.list()],  # type: ignore
    "one step's hooks": lambda o, p: o.register_step_pre_hook(lambda *_: None) and None,
}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_replaced_tensors_change_no_bit(kind: str, backend: str) -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), backend=backend, **ALL_ON)
    twin = make_sgld(plain.named(), backend=backend, **ALL_ON)
    problem.run(optimizer, [1, 2])
    REPLACEMENTS[kind](optimizer, problem)
    problem.run(optimizer, [3, 4])
    plain.run(twin, [1, 2, 3, 4])
    assert_same(problem.values(), plain.values())
    assert_same(states_by_name(optimizer, problem.params), states_by_name(twin, plain.params))


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("layout", ["own", "other"])
def test_a_step_keeps_no_gradient_alive(layout: str, backend: str) -> None:
    # Else zero_grad() frees nothing, and the next backward pass needs the gradients' memory twice.
    shape = (37, 29)
    param = torch.nn.Parameter(torch.zeros(shape))
    optimizer = make_sgld([param], backend=backend, max_grad_norm=1.0, **ALL_ON)
    for _ in range(2):
        param.grad = torch.ones(shape) if layout == "own" else torch.ones(shape[::-1]).t()
        optimizer.step()
        optimizer.zero_grad()
        gc.collect()
        alive = [tensor for tensor in gc.get_objects() if type(tensor) is Tensor and tensor.shape == shape]
        assert len(alive) == 1 and alive[0] is optimizer.state[param]["momentum_buffer"]


def test_a_state_written_in_place_is_used() -> None:
    problem = make_problem({"a": (4,)})
    param = problem.params["a"]
    optimizer = make_sgld(problem.list(), lr=1.0, momentum=0.5)
    problem.run(optimizer, [1])
    optimizer.state[param]["momentum_buffer"].fill_(2.0)
    param.data.zero_()
    param.grad = torch.ones(4)
    optimizer.step()
    assert_same({"a": param.detach()}, {"a": torch.full((4,), -2.0)})


def test_a_cleared_state_starts_anew() -> None:
    problem, fresh = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    problem.run(optimizer, [1, 2])
    optimizer.state.clear()
    for param, other in zip(problem.list(), fresh.list(), strict=True):
        other.data.copy_(param)
    problem.run(optimizer, [3])
    fresh.run(make_sgld(fresh.named(), **ALL_ON), [3])
    assert_same(problem.values(), fresh.values())


def test_a_model_may_change_its_dtype_after_construction() -> None:
    model, plain = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    plain.load_state_dict(model.state_dict())
    plain.to(BF16)
    optimizer = make_sgld(model.named_parameters(), **ALL_ON)
    model.to(BF16)
    twin = make_sgld(plain.named_parameters(), **ALL_ON)
    Problem(dict(model.named_parameters())).run(optimizer, [1, 2, 3])
    Problem(dict(plain.named_parameters())).run(twin, [1, 2, 3])
    assert_same(dict(model.state_dict()), dict(plain.state_dict()))


@pytest.mark.parametrize("dtypes", [(F32, BF16), (BF16, F32), (F32, F16)])
def test_a_model_may_change_its_dtype_between_steps(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    before, after = dtypes
    model = torch.nn.Linear(5, 3).to(before)
    optimizer = make_sgld(model.named_parameters(), lr=0.25, momentum=0.5)
    problem = Problem(dict(model.named_parameters()))
    problem.run(optimizer, [1])
    optimizer.zero_grad()
    model.to(after)
    problem.run(optimizer, [2, 3])
    assert all(param.dtype == after and bool(param.isfinite().all()) for param in model.parameters())
    assert all(int(optimizer.state[param]["step"]) == 3 for param in model.parameters())


def test_memory_reinterpreted_in_another_order_is_noticed() -> None:
    # The same object, address and shape; only the strides differ.
    problem = make_problem({"square": (4, 4)})
    param = problem.params["square"]
    optimizer = make_sgld(problem.list(), lr=1.0)
    problem.run(optimizer, [1])
    param.data = param.data.t()
    grad = torch.arange(16.0).reshape(4, 4)
    param.grad = grad.clone()
    wanted = param.detach() - grad
    optimizer.step()
    assert_same({"square": param.detach()}, {"square": wanted})


def test_memory_cut_to_another_size_is_noticed() -> None:
    memory = torch.zeros(8)
    param = torch.nn.Parameter(memory)
    optimizer = make_sgld([param], lr=1.0)
    param.grad = torch.ones(8)
    optimizer.step()
    memory, param.grad = param.data, None
    param.data = memory[:3]
    param.grad = torch.ones(3)
    optimizer.step()
    assert memory.tolist() == [-2.0] * 3 + [-1.0] * 5


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("size", [2, 12])
def test_a_state_of_another_size_is_refused(size: int, backend: str) -> None:
    # Views of larger memory, so that a step that goes too far is seen and not fatal.
    problem = make_problem({"a": (6,), "b": (5,)})
    optimizer = make_sgld(problem.named(), momentum=0.9, backend=backend)
    problem.run(optimizer, [1])
    memory = torch.full((64,), 7.0)
    optimizer.state[problem.params["a"]]["momentum_buffer"] = memory[:size]
    problem.set_grads(2)
    with unchanged(optimizer), pytest.raises(TensorError, match="momentum_buffer"):
        optimizer.step()
    assert bool((memory == 7.0).all())


def test_a_parameter_that_outgrew_its_state_is_refused() -> None:
    memory = torch.full((64,), 7.0)
    param = torch.nn.Parameter(torch.zeros(2))
    optimizer = make_sgld([param], momentum=0.9)
    param.grad = torch.ones(2)
    optimizer.step()
    optimizer.state[param]["momentum_buffer"] = memory[:2]
    param.grad = None
    param.data = torch.zeros(6)
    param.grad = torch.ones(6)
    with unchanged(optimizer), pytest.raises(TensorError, match="momentum_buffer"):
        optimizer.step()
    assert bool((memory == 7.0).all())


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_memory_reinterpreted_in_another_dtype_is_noticed(backend: str) -> None:
    # The same object, address, shape and gradient.
    param = torch.nn.Parameter(torch.ones(4, dtype=BF16))
    param.grad_dtype = F32
    optimizer = make_sgld([param], lr=1.0, backend=backend)
    param.grad = torch.ones(4)
    optimizer.step()
    param.data = param.data.view(F16)
    param.data.fill_(1.0)
    optimizer.step()
    assert_same({"param": param.detach()}, {"param": torch.zeros(4, dtype=F16)})


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_state_s_memory_in_another_order_is_noticed(backend: str) -> None:
    problem = make_problem({"square": (3, 3)})
    param = problem.params["square"]
    optimizer = make_sgld(problem.list(), lr=1.0, momentum=0.5, backend=backend)
    problem.run(optimizer, [1])
    values = torch.arange(9.0).view(3, 3)
    buffer = optimizer.state[param]["momentum_buffer"]
    buffer.copy_(values)
    buffer.data = buffer.data.t()
    param.data.zero_()
    param.grad = torch.ones(3, 3)
    optimizer.step()
    assert_same({"square": param.detach()}, {"square": -(values.t() * 0.5 + 1.0)})
