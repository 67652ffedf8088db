"""The compensation term r = s lr h / ||h||: its length and direction, what it is the norm of, and that it harms nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import QuantizedSGD
from qlangevin.quantizers import Compensation, Grid
from tests.tolerances import bound

from .optimizers import BACKENDS
from .problems import Problem, make_problem
from .snapshots import assert_same, describe_difference

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
LR = 0.375
SHARE = 0.5 * (1.0 + math.tanh(2.0))  # of the first step below: slope 2, one epoch before the middle
PER_TENSOR, GLOBAL = Compensation(1.0, 2), Compensation(1.0, 2, norm="global")


def make_quantized(params: Any, compensation: Compensation | None, **options: Any) -> QuantizedSGD:
    """Without a quantizer, so that what is seen is h + r."""
    return QuantizedSGD(
        params,
        **{"lr": LR, "update_quantizer": None, "compensation": compensation, "seed": 7, "param_rounding": "nearest", **options},
    )


def displacements(problem: Problem, compensation: Compensation | None, **options: Any) -> dict[str, Tensor]:
    """How far one step goes from 0, in binary64."""
    for param in problem.list():
        param.data.zero_()
    make_quantized(problem.named(), compensation, **options).step()
    return {name: value.double() for name, value in problem.values().items()}


def split(problem: Problem, compensation: Compensation, **options: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """h, and r = the displacement with the term minus h."""
    h = displacements(problem, None, **options)
    whole = displacements(problem, compensation, **options)
    return h, {name: whole[name] - h[name] for name in h}


def check(r: Tensor, h: Tensor, length: float, norm: float | None = None) -> None:
    """r is length h / norm, to rounding."""
    size = float(h.norm()) if norm is None else norm
    wanted = h * (length / size)
    limit = bound("compensation") * (float(h.norm()) + float(wanted.norm()))
    assert float((r - wanted).norm()) <= limit, (float(r.norm()), length)


# What else may act on h; the norm is that of the h which is quantized.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "stochastic gradient grid": {"grad_quantizer": Grid(4.0, "stochastic")},
    "clipped": {"max_grad_norm": 0.1},
    "maximize": {"maximize": True},
    "decoupled decay": {"weight_decay": 0.1, "decoupled_weight_decay": True},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", OPTIONS)
def test_the_length_of_each_tensor_s_term(options: str, backend: str) -> None:
    problem = make_problem()
    problem.set_grads(1)
    h, r = split(problem, PER_TENSOR, backend=backend, **OPTIONS[options])
    for name in h:
        assert float(h[name].norm()) > 0
        check(r[name], h[name], SHARE * LR)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", OPTIONS)
def test_the_length_of_the_term_over_all_tensors(options: str, backend: str) -> None:
    problem = make_problem()
    problem.set_grads(1)
    h, r = split(problem, GLOBAL, backend=backend, **OPTIONS[options])
    norm = math.sqrt(sum(float((value**2).sum()) for value in h.values()))
    for name in h:
        check(r[name], h[name], SHARE * LR * float(h[name].norm()) / norm)
    length = math.sqrt(sum(float((value**2).sum()) for value in r.values()))
    assert abs(length - SHARE * LR) <= bound("compensation") * (norm + SHARE * LR)


def test_weight_decay_is_part_of_h() -> None:
    param = Parameter(torch.tensor([3.0, -4.0]))
    param.grad = torch.zeros(2)
    make_quantized([param], PER_TENSOR, lr=0.5, weight_decay=1.0).step()
    h = torch.tensor([-1.5, 2.0], dtype=torch.float64)
    check(param.detach().double() - torch.tensor([3.0, -4.0]) - h, h, SHARE * 0.5)


def test_the_norm_may_be_over_several_dtypes_and_groups_with_their_own_lr() -> None:
    shapes = {"a": (3, 5), "b": (7,), "c": (300,), "d": (0,)}
    problem = make_problem(shapes)
    problem.set_grads(1)
    for name, dtype in {"b": F16, "c": BF16}.items():
        param, grad = problem.params[name], problem.params[name].grad
        assert grad is not None
        param.grad, param.grad_dtype = None, dtype
        param.grad = grad.to(dtype)
    lrs = {"a": LR, "b": 0.5, "c": 0.125, "d": LR}
    runs = []
    for backend in BACKENDS:
        for param in problem.list():
            param.data.zero_()
        groups = [{"params": [pair], "lr": lrs[pair[0]]} for pair in problem.named()]
        optimizer = make_quantized(groups, GLOBAL, backend=backend)
        optimizer.step()
        assert len(optimizer._executions.latest.buckets) == 3  # type: ignore[union-attr]  # one for each dtype of the gradients
        runs.append(problem.values())
    assert_same(runs[0], runs[1])
    h = {name: -lrs[name] * param.grad.double() for name, param in problem.params.items() if param.grad is not None}
    norm = math.sqrt(sum(float((value**2).sum()) for value in h.values()))
    for name in ("a", "b", "c"):
        check(runs[0][name].double() - h[name], h[name], SHARE * lrs[name] * float(h[name].norm()) / norm)


@pytest.mark.parametrize("norm", ["tensor", "global"])
def test_the_order_of_tensors_and_groups_changes_no_bit(norm: str) -> None:
    results = []
    for order in (1, -1):
        problem = make_problem()
        named = problem.named()[::order]
        groups = [{"params": named[:1]}, {"params": named[1:]}]
        problem.run(make_quantized(groups if norm == "tensor" else named, Compensation(1.0, 2, norm=norm)), [1, 2])
        results.append(problem.values())
    if norm == "tensor":
        assert_same(results[0], results[1])
    else:  # the binary64 sum over tensors follows their order; its binary32 rounding may not notice
        assert all(
            torch.allclose(results[0][name], results[1][name], rtol=bound("order_of_a_sum"), atol=bound("order_of_a_sum"))
            for name in results[0]
        )


def run_two(grad: Tensor, norm: str, backend: str, **options: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A tensor with this gradient beside an ordinary one: the results, and those of the ordinary one alone."""
    both, alone = make_problem({"odd": tuple(grad.shape), "even": (5,)}), make_problem({"even": (5,)})
    for problem in (both, alone):
        problem.set_grads(1)
        for param in problem.list():
            param.data.zero_()
    both.params["odd"].grad = grad
    for problem in (both, alone):
        make_quantized(problem.named(), Compensation(1.0, 2, norm=norm), backend=backend, **options).step()
    return both.values(), alone.values()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", ["tensor", "global"])
def test_a_tensor_of_zeros_has_no_term_and_leaves_the_others_theirs(norm: str, backend: str) -> None:
    both, alone = run_two(torch.zeros(3), norm, backend)
    assert both["odd"].tolist() == [0.0] * 3
    assert_same({"even": both["even"]}, alone)
    nothing, _ = run_two(torch.zeros(3), norm, backend, lr=0.0)
    assert not any(bool(value.any()) for value in nothing.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_tensor(value: float, backend: str) -> None:
    both, alone = run_two(torch.tensor([1.0, value, 2.0]), "tensor", backend)
    assert_same({"even": both["even"]}, alone)
    if math.isnan(value):
        assert bool(both["odd"].isnan().all())  # the norm is NaN
    else:
        assert both["odd"].tolist() == [-LR, -LR * value, -LR * 2.0]  # h / inf is 0
    everywhere, _ = run_two(torch.tensor([1.0, value, 2.0]), "global", backend)
    assert bool(everywhere["even"].isnan().all()) == math.isnan(value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_in_a_group_without_compensation_stays_where_it_is(backend: str) -> None:
    problem = make_problem({"with": (3,), "without": (3,)})
    problem.set_grads(1)
    problem.params["without"].grad = torch.tensor([1.0, math.nan, 2.0])
    groups = [{"params": [pair], "compensation": PER_TENSOR if pair[0] == "with" else None} for pair in problem.named()]
    for param in problem.list():
        param.data.zero_()
    make_quantized(groups, None, backend=backend).step()
    assert problem.values()["without"].isnan().tolist() == [False, True, False]
    assert bool(problem.values()["with"].isfinite().all())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", ["tensor", "global"])
@pytest.mark.parametrize("size", [1e-20, 1e-38, 1e-40, 1e-45])
def test_a_vanishing_displacement_gives_no_inf(size: float, norm: str, backend: str) -> None:
    param = Parameter(torch.zeros(2))
    param.grad = torch.tensor([size, -size])
    make_quantized([param], Compensation(1.0, 2, norm=norm), lr=1.0, backend=backend).step()
    r = param.detach().double()
    assert bool(r.isfinite().all()) and r[0] == -r[1] and r[0] < 0
    if size >= 1e-38:
        check(r - -param.grad.double(), -param.grad.double(), SHARE)
    else:  # the factor ends at the largest binary32 number
        assert float(r.norm()) <= SHARE


@pytest.mark.parametrize("warmup", [0.0, 1.0, 2.5])
def test_the_envelopes(warmup: float) -> None:
    steep = Compensation(warmup, 2, slope=3.0)
    flat = Compensation(warmup, 2, slope=3.0, envelope="sigmoid")
    middle = round(2 * warmup) + 1
    assert steep(middle) == flat(middle) == 0.5
    for step in range(1, 12):
        t = (step - 1) / 2 - warmup
        assert math.isclose(steep(step), (1 + math.tanh(-3.0 * t)) / 2, rel_tol=bound("closed_form"))
        assert math.isclose(flat(step), 1 / (1 + math.exp(3.0 * t)), rel_tol=bound("sigmoid_tail"))
    values = [steep(step) for step in range(1, 200)]
    assert values == sorted(values, reverse=True) and values[-1] == 0.0 and values[0] <= 1.0
    assert Compensation(warmup, 2, slope=6.0, envelope="sigmoid")(middle + 1) == steep(middle + 1)


def test_the_term_shrinks_with_the_steps_and_then_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    param = Parameter(torch.zeros(2))
    optimizer = make_quantized([param], Compensation(1.0, 1), lr=0.5)
    for step in range(1, 4):
        param.data.zero_()
        param.grad = torch.tensor([3.0, 4.0])
        optimizer.step()
        h = torch.tensor([-1.5, -2.0], dtype=torch.float64)
        check(param.detach().double() - h, h, 0.5 * Compensation(1.0, 1)(step))
    optimizer.state[param]["step"].fill_(1000)
    monkeypatch.setattr("qlangevin.execution.Execution.look_ahead", None)
    optimizer.step()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_grid_rounds_h_and_the_term_together(backend: str) -> None:
    # h = -1/4 (3, 4) = (-0.75, -1), of norm 1.25; s = 1/2 at the middle, so r = 1/8 h / ||h|| = (-0.075, -0.1).
    param = Parameter(torch.zeros(2))
    param.grad = torch.tensor([3.0, 4.0])
    make_quantized([param], Compensation(0.0, 1), lr=0.25, update_quantizer=Grid(20.0), backend=backend).step()
    spacing = torch.tensor(1 / 20).float().item()
    assert param.tolist() == [float(torch.tensor(-16 * spacing).float()), float(torch.tensor(-22 * spacing).float())]


def test_the_velocity_does_not_see_the_term() -> None:
    plain, other = make_problem(), make_problem()
    first, second = make_quantized(plain.named(), None, momentum=0.9), make_quantized(other.named(), PER_TENSOR, momentum=0.9)
    plain.run(first, [1, 2])
    other.run(second, [1, 2])
    for one, two in zip(plain.list(), other.list(), strict=True):
        assert describe_difference(first.state[one]["momentum_buffer"], second.state[two]["momentum_buffer"]) is None
        assert describe_difference(one.detach(), two.detach())
