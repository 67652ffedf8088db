"""Sums of squares: native = reference bit for bit, in an order that depends on the length alone, and close to the exact sum."""

from __future__ import annotations

import math

import pytest
import torch

from qlangevin.reference_numbers import sum_fixed, sum_squares

from .cases import make_values
from .kernels import DTYPES, Job, make_plan

SIZES = (0, 1, 2, 255, 256, 257, 4095, 4096, 4097, 5000, 16_384, 100_001)


def new_jobs(dtype: str, kind: str) -> list[Job]:
    return [Job(torch.zeros(size), make_values(kind, size, dtype, size)) for size in SIZES]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("kind", ["normal", "wide", "subnormal", "zero"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_native_sums_are_the_reference_s(dtype: str, kind: str, threads: int) -> None:
    jobs = new_jobs(dtype, kind)
    plan = make_plan("plain", jobs)
    got = plan.square_grads([job.grad.data_ptr() for job in jobs], threads)
    assert got == [sum_squares(job.grad).item() for job in jobs]
    exact = [math.fsum((job.grad.double() ** 2).tolist()) for job in jobs]
    for one, other, size in zip(got, exact, SIZES, strict=True):
        roundings = 16 + 8 + math.ceil(math.log2(max(size, 1)))  # rows, columns, blocks and levels above them
        assert abs(one - other) <= roundings * 2.0**-53 * other


def test_a_value_that_is_not_finite_is_not_lost() -> None:
    for value in (math.inf, -math.inf, math.nan):
        grad = torch.zeros(5000)
        grad[4500] = value
        jobs = [Job(torch.zeros(5000), grad)]
        assert not math.isfinite(make_plan("plain", jobs).square_grads([grad.data_ptr()], 1)[0])
        assert not math.isfinite(sum_squares(grad).item())


def test_sums_of_several_levels_are_the_exact_ones_for_integers() -> None:
    x = torch.arange(4096 * 4096 // 8 + 77, dtype=torch.float64)
    assert sum_fixed(x).item() == len(x) * (len(x) - 1) / 2


def test_the_order_is_rows_then_halves_of_columns() -> None:
    """Three numbers whose sum depends on the order: 2^53 + 1 drops the 1."""
    big, small = 2.0**53, 1.0
    x = torch.zeros(600, dtype=torch.float64)
    x[0], x[256], x[512] = big, small, small  # one column: (big + 1) + 1
    assert sum_fixed(x).item() == big
    y = torch.zeros(600, dtype=torch.float64)
    y[0], y[1], y[129] = big, small, small  # columns 1 and 129 meet before they meet column 0
    assert sum_fixed(y).item() == big + 2
