"""Tensors that no step can take: a named error, and nothing is written."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from qlangevin import HyperparameterError, QlangevinError, TensorError

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import bytes_of, unchanged
from .wrong_tensors import NEVER_PARAMS, WRONG_GRADS, WRONG_MEMORY

BACKENDS = ["native", "reference"]


def make_abc() -> Problem:
    return make_problem(dict.fromkeys("abc", (4, 3)))


@pytest.mark.parametrize("kind", NEVER_PARAMS)
def test_parameters_refused_at_construction(kind: str) -> None:
    make, told = NEVER_PARAMS[kind]
    with pytest.raises(TensorError, match=told):
        make_sgld([Parameter(torch.ones(2)), make()])
    with pytest.raises(TensorError, match="weight.*" + told):
        make_sgld([("weight", make())])


@pytest.mark.parametrize("kind", NEVER_PARAMS)
def test_parameters_refused_in_a_group_that_is_added(kind: str) -> None:
    make, told = NEVER_PARAMS[kind]
    problem = make_abc()
    optimizer = make_sgld(problem.list(), **ALL_ON)
    problem.run(optimizer, [1])
    with unchanged(optimizer), pytest.raises(TensorError, match=told):
        optimizer.add_param_group({"params": [Parameter(torch.ones(2)), make()]})
    problem.run(optimizer, [2])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("kind", WRONG_MEMORY)
def test_parameters_refused_for_their_memory(kind: str, steps_before: int, backend: str) -> None:
    spoil, told = WRONG_MEMORY[kind]
    problem = make_abc()
    optimizer = make_sgld(problem.named(), backend=backend, **ALL_ON)
    problem.run(optimizer, range(1, steps_before + 1))
    problem.set_grads(5)
    spoil(problem.params["b"], problem.params["c"])
    with unchanged(optimizer), pytest.raises(TensorError, match=told) as error:
        optimizer.step()
    assert " c" in str(error.value) or "c " in str(error.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_meta_parameters_are_refused_at_the_step(backend: str) -> None:
    problem = make_abc()
    ghost = Parameter(torch.ones(3, device="meta"))
    optimizer = make_sgld([*problem.named(), ("ghost", ghost)], backend=backend, **ALL_ON)
    problem.set_grads(1)
    ghost.grad = torch.ones(3, device="meta")
    with unchanged(optimizer), pytest.raises(TensorError, match=r"ghost.*materialize"):
        optimizer.step()


def test_a_model_may_be_materialized_after_its_optimizer_is_made() -> None:
    with torch.device("meta"):
        model = torch.nn.Linear(3, 2)
    optimizer = make_sgld(model.named_parameters(), lr=1.0)
    params = list(model.parameters())
    optimizer.param_groups[0]["params"][:] = params
    model.to_empty(device="cpu")
    optimizer.param_groups[0]["params"][:] = list(model.parameters())
    for param in model.parameters():
        param.data.zero_()
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert all(bool((param == -1).all()) for param in model.parameters())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("kind", WRONG_GRADS)
def test_gradients_refused(kind: str, steps_before: int, backend: str) -> None:
    spoil, told = WRONG_GRADS[kind]
    problem = make_abc()
    optimizer = make_sgld(problem.named(), backend=backend, **ALL_ON)
    problem.run(optimizer, range(1, steps_before + 1))
    problem.set_grads(5)
    spoil(problem.params["b"])
    for _ in range(2):  # also when tried again
        with unchanged(optimizer), pytest.raises(TensorError, match="gradient of b") as error:
            optimizer.step()
        assert told in str(error.value)
    problem.params["b"].grad = None
    problem.params["b"].grad_dtype = torch.float32
    problem.run(optimizer, [3])  # and goes on once it is right


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_gradients_propagate_and_are_no_error(value: float, backend: str) -> None:
    problem = make_abc()
    optimizer = make_sgld(problem.named(), backend=backend, **ALL_ON)
    problem.run(optimizer, [1])
    problem.set_grads(2)
    grad = problem.params["b"].grad
    assert grad is not None
    grad[1, 2] = value
    optimizer.step()
    finite = problem.params["b"].detach().isfinite()
    assert int((~finite).sum()) == 1 and not bool(finite[1, 2])
    assert not bool(optimizer.state[problem.params["b"]]["momentum_buffer"].isfinite()[1, 2])
    assert all(bool(problem.params[name].isfinite().all()) for name in "ac")


def test_a_parameter_twice_in_one_group() -> None:
    param = Parameter(torch.ones(3))
    with (
        pytest.warns(UserWarning, match="duplicate parameters"),
        pytest.raises(HyperparameterError, match="same parameter twice"),
    ):
        make_sgld([param, param])


def test_a_parameter_in_two_groups() -> None:
    param, problem = Parameter(torch.ones(3)), make_abc()
    with pytest.raises(QlangevinError, match="group"):
        make_sgld([{"params": [param]}, {"params": [param]}])
    optimizer = make_sgld(problem.list(), **ALL_ON)
    problem.run(optimizer, [1])
    with unchanged(optimizer), pytest.raises(QlangevinError, match="group"):
        optimizer.add_param_group({"params": [problem.params["b"]]})


@pytest.mark.parametrize("names", [("a", "a"), ("a", "module.a"), ("x._orig_mod.a", "x.a"), ("a", "_fsdp_wrapped_module.a")])
@pytest.mark.parametrize("apart", [False, True])
def test_equal_names(names: tuple[str, str], apart: bool) -> None:
    pairs = [(name, Parameter(torch.ones(3))) for name in names]
    groups = [{"params": [pair]} for pair in pairs] if apart else pairs
    with pytest.raises(HyperparameterError, match="unique") as error:
        make_sgld(groups)
    assert all(repr(name) in str(error.value) for name in names)


@pytest.mark.parametrize("empty", [[], (), iter([])])
def test_nothing_to_optimize(empty: object) -> None:
    with pytest.raises(HyperparameterError, match="empty"):
        make_sgld(empty)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_and_0_dim_tensors_are_no_error(backend: str) -> None:
    problem = make_problem({"empty": (0,), "a": (4,), "none": (3, 0), "zero": (), "last": (0, 5)})
    optimizer = make_sgld(problem.named(), backend=backend, **ALL_ON)
    start = bytes_of(problem.params["a"])
    problem.run(optimizer, [1, 2])
    assert not bytes_of(problem.params["a"]).equal(start)
    assert all(int(optimizer.state[param]["step"]) == 2 for param in problem.list())


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_empty_tensors_are_no_error(backend: str) -> None:
    problem = make_problem({"empty": (0,), "none": (3, 0)})
    problem.run(make_sgld(problem.named(), backend=backend, max_grad_norm=1.0, **ALL_ON), [1, 2])
