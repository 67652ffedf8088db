"""collect_metrics and metrics: against the same quantities computed in binary64 from what a step took and left."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from qlangevin import HyperparameterError, quantizers
from tests.tolerances import bound

from .problems import make_problem, make_sgld
from .snapshots import assert_same

NAMES = {"grad_norm", "update_norm", "noise_norm", "unmoved", "zeroed", "rounding_over_noise"}
LR = 0.25


def measure(
    temperature: float = 0.0, dtype: torch.dtype = torch.float32, **options: Any
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """(parameters before, the problem after a step at lr 1/4, metrics of tensors)."""
    problem = make_problem(dtype=dtype)
    optimizer = make_sgld(problem.named(), lr=LR, temperature=temperature, backend="reference", **options)
    optimizer.collect_metrics()
    before = problem.values()
    problem.run(optimizer, [1])
    return problem, before, optimizer.metrics().tensors


def close(value: torch.Tensor, wanted: float) -> bool:
    assert value.dtype == torch.float64 and value.ndim == 0
    return math.isclose(float(value), wanted, rel_tol=bound("metrics"), abs_tol=0.0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_norms_without_noise(momentum: float) -> None:
    problem, before, metrics = measure(momentum=momentum)
    assert set(metrics) == set(problem.params)
    for name, param in problem.params.items():
        assert set(metrics[name]) == NAMES
        assert param.grad is not None
        norm = float(param.grad.double().norm())
        assert close(metrics[name]["grad_norm"], norm)
        assert close(metrics[name]["update_norm"], LR * norm)
        assert float(metrics[name]["noise_norm"]) == 0.0
        assert float(metrics[name]["unmoved"]) == float((param == before[name]).double().mean())
        assert float(metrics[name]["zeroed"]) == 0.0


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_noise_s_norm_is_how_far_it_moves_the_parameter(momentum: float) -> None:
    hot, _, metrics = measure(temperature=0.5, momentum=momentum, dtype=torch.float64)
    cold, _, _ = measure(momentum=momentum, dtype=torch.float64)
    for name, value in hot.values().items():
        moved = float((value - cold.values()[name]).norm())
        assert close(metrics[name]["noise_norm"], moved)
        assert moved > 0


def test_the_gradient_is_the_unscaled_clipped_one() -> None:
    problem, _, metrics = measure(max_grad_norm=0.5)
    total = math.sqrt(sum(float(entry["grad_norm"]) ** 2 for entry in metrics.values()))
    assert math.isclose(total, 0.5, rel_tol=1e-5)  # the coefficient's own 1e-6 on a norm of some units
    assert problem is not None


def test_shares_and_the_rounding_s_variance() -> None:
    dtype = torch.bfloat16
    options: dict[str, Any] = {"update_quantizer": quantizers.Grid(2.0), "param_rounding": "nearest"}
    problem, before, metrics = measure(temperature=1e-4, dtype=dtype, **options)
    scale = float(torch.tensor(math.sqrt(2 * LR * 1e-4)).float())
    assert scale > 0
    for name, param in problem.params.items():
        assert param.grad is not None
        delta = torch.floor(-LR * param.grad.double() * 2.0 + 0.5) / 2.0
        assert float(metrics[name]["zeroed"]) == float((delta == 0).double().mean())
        assert float(metrics[name]["unmoved"]) == float((param == before[name]).double().mean())
        assert close(metrics[name]["update_norm"], float(delta.norm()))
        assert float(metrics[name]["rounding_over_noise"]) > 0.0
    rounding = sum(float(m["rounding_over_noise"]) * float(m["noise_norm"]) ** 2 for m in metrics.values())
    spacing = sum(float(((value.float().abs() * 2.0**-8) ** 2).sum()) for value in problem.values().values())
    assert 0 < rounding <= spacing  # at most half a spacing, 2^-8 of the value, for each element


def test_float32_parameters_have_no_rounding_to_storage() -> None:
    _, _, metrics = measure(temperature=1.0)
    assert all(float(entry["rounding_over_noise"]) == 0.0 for entry in metrics.values())


def test_measuring_changes_no_bit() -> None:
    problem, plain = make_problem(dtype=torch.bfloat16), make_problem(dtype=torch.bfloat16)
    optimizer = make_sgld(problem.named(), temperature=0.3, momentum=0.9, backend="reference")
    optimizer.collect_metrics()
    problem.run(optimizer, [1, 2])
    plain.run(make_sgld(plain.named(), temperature=0.3, momentum=0.9, backend="reference"), [1, 2])
    assert_same(problem.values(), plain.values())


def test_they_are_of_the_last_step_and_can_be_switched_off() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), backend="reference")
    with pytest.raises(HyperparameterError, match="collect_metrics"):
        optimizer.metrics()
    optimizer.collect_metrics()
    problem.run(optimizer, [1])
    first = float(optimizer.metrics().tensors["p0"]["grad_norm"])
    problem.without_grads = {"p1"}
    problem.run(optimizer, [2])
    assert float(optimizer.metrics().tensors["p0"]["grad_norm"]) != first
    assert set(optimizer.metrics().tensors) == {"p0", "p2", "p3"}
    optimizer.collect_metrics(False)
    with pytest.raises(HyperparameterError, match="collect_metrics"):
        optimizer.metrics()
