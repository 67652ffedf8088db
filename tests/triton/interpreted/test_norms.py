"""Triton's sums of squares, and how numbers of chunks come to those of tensors = the reference's, in Triton's interpreter."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from torch import Tensor

from qlangevin.reference import STATISTICS
from qlangevin.reference_numbers import sum_fixed, sum_squares
from qlangevin.triton_kernels import squares
from qlangevin.triton_kernels.folds import make_folds

from ...core.cases import make_values
from ...core.kernels import DTYPES, Job, Step, settings
from ...core.test_statistics import equal
from ..launching import square_triton
from .test_parity import check_guards, guard_job

CHUNK = 4096
SHAPES = [(1, 0), (7, 5), (0, 3), (300, 4093), (600, 2**35 - 40), (CHUNK, 1), (2 * CHUNK + 5, 8), (257, 0)]
NOT_SET = torch.zeros(1)
WIDTH = len(STATISTICS)


def make_jobs(dtype: str, kind: str) -> list[Job]:
    grads = [make_values(kind, size, dtype, seed) for seed, (size, _) in enumerate(SHAPES)]
    return [Job(torch.zeros_like(grad), grad, offset=offset) for grad, (_, offset) in zip(grads, SHAPES, strict=True)]


@pytest.mark.parametrize("misalignment", [0, 3])
@pytest.mark.parametrize("kind", ["wide", "subnormal", "special"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_squares_are_the_reference_s(dtype: str, kind: str, misalignment: int) -> None:
    fresh = make_jobs(dtype, kind)
    buffers, jobs = zip(*(guard_job(job, misalignment) for job in fresh), strict=True)
    wanted = [sum_squares(job.grad, job.offset).item() if job.grad.numel() else 0.0 for job in fresh]
    assert all(map(equal, square_triton(Step("plain", [settings()]), jobs), wanted))
    assert [found for pair in zip(buffers, jobs, fresh, strict=True) for found in check_guards(*pair[:2], pair[2].grad)] == []


def test_a_list_of_empty_tensors_is_no_launch() -> None:
    with mock.patch.object(squares, "squares_kernel", None):
        assert square_triton(Step("plain", [settings()]), [Job(torch.zeros(0), torch.zeros(0))]) == [0.0]
    with mock.patch.object(squares, "fold_kernel", None):
        squares.launch_fold(NOT_SET.double(), NOT_SET.double(), NOT_SET, 0)
        squares.launch_fold(NOT_SET.double(), NOT_SET.double(), NOT_SET, torch.zeros((0, 3), dtype=torch.int64))


def make_list(count: int, seed: int) -> Tensor:
    """Numbers whose sum depends on the order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator, dtype=torch.float64) * 10.0 ** torch.randn(count, generator=generator).double()


@pytest.mark.parametrize("count", [1, 2, 255, 257, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_a_list_is_summed_level_by_level(count: int) -> None:
    values = make_list(count, count)
    wanted, list_ = sum_fixed(values).item(), values
    while list_.numel() > 1:
        sums = torch.full((-(-list_.numel() // CHUNK),), math.nan, dtype=torch.float64)
        squares.launch_fold(list_, sums, NOT_SET, list_.numel())
        list_ = sums
    assert list_.item() == wanted
    if count > 2:
        assert values.flip(0).sum().item() != wanted or values.sum().item() != wanted


def test_the_shape_says_where_values_and_sums_lie() -> None:
    """Every third value into every fifth sum; what lies between is neither read nor written."""
    values, sums = torch.full((300, 3), math.nan, dtype=torch.float64), torch.full((2, 5), 7.0, dtype=torch.float64)
    values[:, 0] = make_list(300, 1)
    folds = torch.tensor([[10, 280, 1], [0, 7, 0]])
    squares.launch_fold(values, sums, NOT_SET, folds, squares.Shape(1, 3, 5))
    assert sums[:, 0].tolist() == [sum_fixed(values[:7, 0]).item(), sum_fixed(values[10:290, 0]).item()]
    assert bool((sums[:, 1:] == 7).all())


def fold_statistics(values: Tensor, folds: Tensor, sums: Tensor) -> None:
    squares.launch_fold(values, sums, NOT_SET, folds, squares.Shape(WIDTH, WIDTH, WIDTH))


def test_of_statistics_the_last_is_a_maximum() -> None:
    values, sums = make_list(700 * WIDTH, 3).view(700, WIDTH), torch.full((3, WIDTH), math.nan, dtype=torch.float64)
    values[:, -1] = values[:, -1].abs().float().double()
    values[13, -1] = math.inf
    folds = torch.tensor([[0, 13, 2], [13, 687, 0], [5, 0, 1]])
    fold_statistics(values, folds, sums)
    for first, count, to in folds.tolist():
        part = values[first : first + count]
        wanted = [sum_fixed(part[:, k]).item() for k in range(WIDTH - 1)] + [part[:, -1].max().item() if count else 0.0]
        assert sums[to].tolist() == wanted


@pytest.mark.parametrize("found_inf", [1.0, math.inf, math.nan])
def test_nothing_is_summed_where_found_inf_is_set(found_inf: float) -> None:
    sums = torch.full((1,), 7.0, dtype=torch.float64)
    squares.launch_fold(make_list(5, 0), sums, torch.tensor([found_inf]), 5)
    assert sums.item() == 7.0


def test_tensors_of_more_chunks_than_one_sum_takes() -> None:
    """Over segments: 2 * 4096 + 5 chunks, beside short tensors and one of exactly as many as one sum takes."""
    extents = [(9, 0), ((2 * CHUNK + 5) * CHUNK - 3, 2), (CHUNK * CHUNK, 0), (0, 1)]
    folds, last_folds, segments = make_folds(extents)
    assert segments == 3
    counts = [1, 2 * CHUNK + 5, CHUNK, 0]
    values = make_list(sum(counts), 4)
    sums = torch.full((len(extents) + segments,), math.nan, dtype=torch.float64)
    squares.launch_fold(values, sums, NOT_SET, folds)
    squares.launch_fold(sums, sums, NOT_SET, last_folds)
    assert sums[: len(extents)].tolist() == [sum_fixed(part).item() for part in values.split(counts)]


def test_numbers_that_would_take_another_type_are_refused() -> None:
    for shape in (squares.Shape(1, 2**31, 1), squares.Shape(2**31, 1, 1)):
        with pytest.raises(ValueError, match="at most"):
            squares.launch_fold(NOT_SET.double(), NOT_SET.double(), NOT_SET, 1, shape)
    with pytest.raises(ValueError, match="at most"):
        squares.launch_fold(NOT_SET.double(), NOT_SET.double(), NOT_SET, 2**31)
