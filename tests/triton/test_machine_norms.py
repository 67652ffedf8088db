"""Triton's machine code sees, squares and folds as the reference does, bit for bit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from qlangevin.reference import STATISTICS
from qlangevin.reference_numbers import sum_fixed, sum_squares
from qlangevin.triton_kernels.folds import make_folds
from qlangevin.triton_kernels.squares import Shape

from ..core.cases import FULL, make_values
from ..core.kernels import DTYPES, Job, Step, compare_jobs, settings
from ..core.test_statistics import equal, observe_reference
from ..machine.tools import MissingToolError, find
from .compiled import Specialization, compile_fold, compile_kernel, compile_squares, list_specializations
from .machine import ARCHITECTURE, CHUNK, TritonLaunch, program_of

try:
    find("cuobjdump"), find("nvdisasm")
except MissingToolError as error:
    pytest.skip(str(error), allow_module_level=True)

EVERY = 1 if FULL else 8  # of the kernels; all storage types are among them
WIDTH = len(STATISTICS)
GRID: dict[str, Any] = {"update_rounding": "stochastic", "update_resolution": 30.0, "decoupled_weight_decay": 1e-3}
NOISY: dict[str, Any] = {"temperature": 1.0, "momentum": 0.9, "stochastic_param": True, "stochastic_state": True}
SETTINGS = [settings(), settings(**NOISY), settings(**NOISY, **GRID), settings(**NOISY | GRID | {"lr": 0.0})]


def fold(values: Tensor, folds: Tensor | int, sums: int, shape: Shape, found_inf: float = 0.0) -> Tensor:
    return TritonLaunch(program_of(compile_fold(ARCHITECTURE))).fold(values, folds, sums, shape, found_inf)


def fold_chunks(values: Tensor, jobs: Sequence[Job]) -> list[list[float]]:
    """The numbers of each job from those of each chunk."""
    folds, last_folds, segments = make_folds([(job.param.numel(), job.offset) for job in jobs])
    width = values.shape[1]
    assert segments == 0 and last_folds.shape[0] == 0
    return fold(values, folds, len(jobs) * width, Shape(width, width, width)).view(-1, width).tolist()


def make_jobs(one: Specialization, kind: str) -> list[Job]:
    """Whole rows and partial ones, several chunks, and a tensor of none."""
    shapes = [(600, 4096 - 256), (0, 0), (300, 2**35 - 40)]
    names = {dtype: name for name, dtype in DTYPES.items()}
    types = [names[dtype] for dtype in (one.param, one.grad, *[one.state] * one.states)]
    jobs = []
    for seed, (size, offset) in enumerate(shapes):
        param, grad, *states = [make_values(kind, size, name, 10 * seed + k) for k, name in enumerate(types)]
        jobs.append(Job(param, grad, states, key=2**64 - 3 - seed, offset=offset, noise=seed < 2))
    return jobs


@pytest.mark.parametrize("sees", ["observed", "ahead"])
@pytest.mark.parametrize("one", list_specializations()[::EVERY], ids=lambda one: one.title)
def test_what_a_step_is_seen_to_do(one: Specialization, sees: str) -> None:
    compiled = compile_kernel(replace(one, sees=sees), ARCHITECTURE)
    for hyper in SETTINGS:
        for kind in ("normal", "special"):
            step, jobs = Step(one.kernel, [hyper], (0.37,), chain=7), make_jobs(one, kind)
            wanted = [job.clone() for job in jobs]
            statistics = observe_reference(step, wanted, sees == "observed")
            problems, chunks = TritonLaunch(program_of(compiled)).watch(step, jobs, (0, 3))
            for job in jobs:
                job.steps += int(sees == "observed")
            assert problems + compare_jobs(jobs, wanted) == []
            for found, row in zip(fold_chunks(chunks, jobs), statistics, strict=True):
                assert all(map(equal, found, row)), (hyper, kind, found, row)


@pytest.mark.parametrize("sees", ["observed", "ahead"])
def test_values_leave_their_threads_only_to_be_folded(sees: str) -> None:
    """As many shuffles for one row as for two."""
    one = Specialization("momentum", *[torch.bfloat16] * 3, sees)
    program = program_of(compile_kernel(one, ARCHITECTURE))
    found = []
    for rows in (1, 2):
        launch = TritonLaunch(program)
        param, grad, state = (torch.ones(256 * rows, dtype=torch.bfloat16) for _ in range(3))
        launch.watch(Step("momentum", [settings(**NOISY, **GRID)]), [Job(param, grad, [state])])
        issued: Counter[str] = Counter()
        for index, times in launch.issued.items():
            issued[program.code.instructions[index].opcode] += times
        found.append(issued)
    assert found[0]["SHFL"] == found[1]["SHFL"] > 0 and found[0]["IMAD"] < found[1]["IMAD"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_squares(dtype: str) -> None:
    program = program_of(compile_squares(DTYPES[dtype], ARCHITECTURE))
    for kind in ("wide", "special", "subnormal"):
        for shift in (0, 3):
            grads = [make_values(kind, size, dtype, size) for size in (1, 600, 0, CHUNK + 5)]
            jobs = [Job(torch.zeros(0), grad, offset=o) for grad, o in zip(grads, (0, CHUNK - 256, 1, 2**35 - 40), strict=True)]
            for job in jobs:
                job.param = torch.zeros_like(job.grad)
            found = fold_chunks(TritonLaunch(program).square(jobs, (shift,)), jobs)
            wanted = [sum_squares(job.grad, job.offset).item() for job in jobs]
            assert all(equal(one[0], other) for one, other in zip(found, wanted, strict=True)), (kind, shift)


def make_list(count: int) -> Tensor:
    """Numbers whose sum depends on the order."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, generator=generator, dtype=torch.float64) * 10.0 ** torch.randn(count, generator=generator).double()


def test_a_list_is_folded_one_after_another() -> None:
    values = make_list(CHUNK + 300)
    wanted = [sum_fixed(values[:CHUNK]).item(), sum_fixed(values[CHUNK:]).item()]
    assert fold(values, CHUNK + 300, 2, Shape()).tolist() == wanted
    assert fold(values[:5], 5, 1, Shape()).item() == sum_fixed(values[:5]).item()


def test_the_shape_says_where_values_and_sums_lie() -> None:
    values = torch.full((300, 3), math.nan, dtype=torch.float64)
    values[:, 0] = make_list(300)
    found = fold(values, torch.tensor([[10, 280, 1], [0, 7, 0]]), 10, Shape(1, 3, 5))
    assert found[[0, 5]].tolist() == [sum_fixed(values[:7, 0]).item(), sum_fixed(values[10:290, 0]).item()]
    assert int(found.isnan().sum()) == 8


def test_of_statistics_the_last_is_a_maximum() -> None:
    values = make_list(300 * WIDTH).float().double().view(300, WIDTH)
    values[:, -1] = values[:, -1].abs()
    found = fold(values, torch.tensor([[20, 280, 0]]), WIDTH, Shape(WIDTH, WIDTH, WIDTH))
    assert found.tolist() == [sum_fixed(values[20:, k]).item() for k in range(WIDTH - 1)] + [values[20:, -1].max().item()]


@pytest.mark.parametrize("found_inf", [1.0, math.nan])
def test_nothing_is_folded_where_found_inf_is_set(found_inf: float) -> None:
    assert math.isnan(fold(make_list(5), 5, 1, Shape(), found_inf).item())
