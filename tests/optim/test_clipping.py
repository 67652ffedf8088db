"""max_grad_norm: against torch's clipping, over several groups, with one norm on every backend."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import SGLD
from qlangevin.reference_numbers import COLUMNS
from qlangevin.reference_numbers import ROWS as BLOCK_ROWS
from tests.tolerances import bound

from .launches import only_native, only_reference
from .problems import ALL_ON, Problem, draw, make_problem, make_sgld
from .snapshots import assert_same, describe_difference

BLOCK = BLOCK_ROWS * COLUMNS
SIZES = sorted({BLOCK * k + d for k in (0, 1, 2) for d in (-1, 0, 1, 255, 256, 257) if BLOCK * k + d >= 0})


def clipped_by_torch(max_norm: float, scale: float, **options: Any) -> tuple[Problem, Problem, torch.Tensor]:
    """One step of torch.optim.SGD after torch's clipping, and of ours; with the norm."""
    ours, twin = make_problem(), make_problem()
    ours.set_grads(1, scale)
    twin.set_grads(1, scale)
    norm = torch.nn.utils.clip_grad_norm_(twin.list(), max_norm)
    torch.optim.SGD(twin.list(), 0.5).step()
    make_sgld(ours.named(), lr=0.5, max_grad_norm=max_norm, **options).step()
    return ours, twin, norm


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("max_norm", [0.01, 1.0, 5.0])
def test_one_step_equals_clip_grad_norm_and_sgd(max_norm: float, scale: float, backend: str) -> None:
    ours, twin, norm = clipped_by_torch(max_norm, scale, backend=backend)
    elements = sum(param.numel() for param in ours.list())
    if float(norm) < max_norm:
        plain = make_problem()
        plain.set_grads(1, scale)
        make_sgld(plain.named(), lr=0.5, backend=backend).step()
        assert_same(ours.values(), plain.values())
    for name, param in ours.params.items():
        other = twin.params[name]
        assert other.grad is not None  # clipped in place
        start = draw(name, param.shape, torch.float32).double().abs()
        limit = bound("sgd_twin_param") * start + bound("clip_twin") * elements * 0.5 * other.grad.double().abs()
        assert bool(((param.double() - other.double()).abs() <= limit).all())


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_norm_is_over_all_groups_and_each_clips_by_its_own(backend: str) -> None:
    # Gradients 3, 0 and 4: the norm is 5. Limits of 2.5, none, and 100: coefficients of about a half, 1 and 1.
    params = [Parameter(torch.zeros(1)) for _ in range(3)]
    for param, grad in zip(params, (3.0, 0.0, 4.0), strict=True):
        param.grad = torch.tensor([grad])
    groups = [
        {"params": [params[0]], "max_grad_norm": 2.5},
        {"params": params[1:2]},
        {"params": [params[2]], "max_grad_norm": 100.0},
    ]
    SGLD(groups, 1.0, temperature=0.0, backend=backend).step()
    coefficient = torch.tensor(2.5 / (5.0 + 1e-6)).to(torch.float32)
    assert [param.item() for param in params] == [-float(coefficient * 3.0), 0.0, -4.0]


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_noise_is_not_clipped(backend: str) -> None:
    clipped, free = make_problem(), make_problem()
    for problem, limit in ((clipped, 1e-30), (free, None)):
        for param in problem.list():
            param.data.zero_()
            param.grad = torch.ones_like(param) if limit else torch.zeros_like(param)
        make_sgld(problem.named(), temperature=1.0, max_grad_norm=limit, backend=backend).step()
    for name, value in clipped.values().items():
        assert torch.allclose(value, free.values()[name], rtol=0.0, atol=1e-29)  # the clipped gradient is below 1e-30


def test_clipping_acts_before_decay_and_quantizer_and_under_the_scaler() -> None:
    scaled, plain = make_problem(), make_problem()
    optimizer = make_sgld(scaled.named(), max_grad_norm=0.5, **ALL_ON)
    optimizer.grad_scale = torch.tensor(4.0)  # type: ignore[attr-defined]
    scaled.set_grads(1, 4.0)
    optimizer.step()
    plain.run(make_sgld(plain.named(), max_grad_norm=0.5, **ALL_ON), [1])
    assert_same(scaled.values(), plain.values())


def run_sizes(sizes: list[int], dtype: torch.dtype, backend: str) -> dict[str, torch.Tensor]:
    problem = make_problem({f"t{i}": (size,) for i, size in enumerate(sizes)}, dtype)
    optimizer = make_sgld(problem.named(), lr=1.0, max_grad_norm=0.125, backend=backend, param_rounding="nearest")
    for param in problem.list():
        param.data.zero_()
    problem.set_grads(1)
    optimizer.step()
    return problem.values()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", SIZES)
def test_native_norm_equals_reference_norm_around_the_blocks(size: int, dtype: torch.dtype) -> None:
    with only_native():
        native = run_sizes([size], dtype, "native")
    with only_reference():
        reference = run_sizes([size], dtype, "reference")
    assert_same(native, reference)


@pytest.mark.parametrize("seed", range(12))
def test_native_norm_equals_reference_norm_for_lists(seed: int) -> None:
    chosen = random.Random(seed)
    sizes = [
        chosen.choice([0, 1, chosen.randrange(40), chosen.randrange(3 * BLOCK), *SIZES]) for _ in range(chosen.randrange(1, 9))
    ]
    dtype = chosen.choice([torch.float32, torch.bfloat16, torch.float16])
    assert_same(run_sizes(sizes, dtype, "native"), run_sizes(sizes, dtype, "reference"))


def square_sums(values: torch.Tensor, backend: str) -> float:
    """The sum of squares as the backend's plan gives it."""
    param = Parameter(torch.zeros(values.shape))
    param.grad = values
    optimizer = SGLD([param], 1.0, temperature=0.0, backend=backend)
    optimizer.step()
    execution = optimizer._executions.find(optimizer)
    assert execution is not None
    return float(execution.square_grads(execution.make_input(1.0))[0])


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK + 1, 5 * BLOCK + 77, BLOCK * BLOCK // 64 + 5])
def test_the_sums_of_squares_have_equal_bits_and_the_right_value(size: int) -> None:
    values = draw(f"squares {size}", (size,), torch.float32)
    native, reference = square_sums(values, "native"), square_sums(values, "reference")
    assert native == reference
    exact = math.fsum((values.double() ** 2).tolist())
    assert native == pytest.approx(exact, rel=bound("binary64_law"))


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_norm_that_is_not_finite_is_what_torch_makes_of_it(value: float, backend: str) -> None:
    ours, twin = make_problem(), make_problem()
    for problem in (ours, twin):
        problem.set_grads(1)
        grad = problem.params["p0"].grad
        assert grad is not None
        grad[1, 1] = value
    torch.nn.utils.clip_grad_norm_(twin.list(), 1.0)
    torch.optim.SGD(twin.list(), 0.5).step()
    make_sgld(ours.named(), lr=0.5, max_grad_norm=1.0, backend=backend).step()
    assert_same(ours.values(), twin.values())


def test_the_order_of_the_groups_decides_nothing_but_the_order_of_the_sum() -> None:
    forth, back = make_problem(), make_problem()
    forth.run(make_sgld([{"params": [pair]} for pair in forth.named()], max_grad_norm=0.5), [1])
    back.run(make_sgld(back.named(), max_grad_norm=0.5), [1])
    assert_same(forth.values(), back.values())
    free = make_problem()
    free.run(make_sgld(free.named()), [1])
    assert describe_difference(free.values()["p0"], back.values()["p0"])


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_norms_of_several_lists_are_summed_in_the_order_of_the_parameters(backend: str) -> None:
    params = [Parameter(torch.zeros(1)), Parameter(torch.zeros(1, dtype=torch.bfloat16)), Parameter(torch.zeros(1))]
    for param, grad in zip(params, (1.0, 2.0, 3.0), strict=True):
        param.grad = torch.full_like(param, grad)
    optimizer = SGLD(params, 1.0, temperature=0.0, backend=backend)
    execution = optimizer._executions.find(optimizer)
    assert execution is not None and len(execution.plans) == 2
    assert execution.square_grads(execution.make_input(1.0)) == [1.0, 4.0, 9.0]
