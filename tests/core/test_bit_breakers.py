"""The known ways to lose equal bits (numerics.md section 7), one test each."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch

from .kernels import USABLE_PATHS, Job, Step, compare_jobs, settings, step_native, step_reference

STEPPERS = ("reference", *USABLE_PATHS)


def take_step(path: str, step: Step, jobs: list[Job]) -> None:
    if path == "reference":
        step_reference(step, jobs)
    else:
        step_native(step, jobs, path)


def once(value: Fraction) -> Fraction:
    """Rounded to binary32; exact for the short fractions here."""
    return Fraction(float(np.float32(float(value))))


ONE, HALF_ULP = Fraction(1), Fraction(1, 2**12)  # (1 + h)^2 = 1 + 2h + h^2, and h^2 = 2^-24 is lost when the product is rounded
LONG = ONE + HALF_ULP
SQUARE = once(LONG * LONG)


def test_the_contraction_examples_tell_a_fused_operation() -> None:
    assert SQUARE == ONE + 2 * HALF_ULP
    assert (LONG * LONG - SQUARE) * 2**24 == 1


@pytest.mark.parametrize("path", STEPPERS)
def test_weight_decay_is_not_contracted(path: str) -> None:
    job = Job(torch.tensor([float(LONG)] * 40), torch.tensor([-float(SQUARE)] * 40), [torch.zeros(40)])
    take_step(path, Step("momentum", [settings(weight_decay=float(LONG))]), [job])
    assert (job.states[0] == 0.0).all()  # 2^-24 if g + param * weight_decay were fused


@pytest.mark.parametrize("path", STEPPERS)
def test_the_velocity_is_not_contracted(path: str) -> None:
    job = Job(torch.zeros(40), torch.tensor([-float(SQUARE)] * 40), [torch.tensor([float(LONG)] * 40)])
    take_step(path, Step("momentum", [settings(momentum=float(LONG))]), [job])
    assert (job.states[0] == 0.0).all()


@pytest.mark.parametrize("path", STEPPERS)
def test_the_displacement_is_not_contracted(path: str) -> None:
    job = Job(torch.tensor([float(SQUARE)] * 40), torch.tensor([float(LONG)] * 40))
    take_step(path, Step("plain", [settings(lr=float(LONG))]), [job])
    assert (job.param == 0.0).all()


@pytest.mark.parametrize("path", STEPPERS)
def test_decoupled_decay_is_not_contracted(path: str) -> None:
    values = np.random.default_rng(6).normal(size=4000).astype(np.float32)
    decay = np.float32(0.1)
    job = Job(torch.from_numpy(values.copy()), torch.zeros(4000))
    take_step(path, Step("plain", [settings(lr=1.0, decoupled_weight_decay=0.1)]), [job])
    assert np.array_equal(job.param.numpy(), values - values * decay)
    fused = (values.astype(np.float64) - values.astype(np.float64) * np.float64(decay)).astype(np.float32)
    assert not np.array_equal(job.param.numpy(), fused)


def test_the_reciprocal_of_a_resolution_is_rounded_once() -> None:
    """q * fl(1/Q), never q / Q, which differs for many integers q."""
    q = np.arange(1, 4000, dtype=np.float32)
    wanted = q * np.float32(1 / 100)
    assert not np.array_equal(wanted, q / np.float32(100))
    for path in STEPPERS:
        job = Job(torch.zeros(len(q)), torch.from_numpy(-q / 100).float())
        take_step(path, Step("plain", [settings(lr=1.0, update_rounding="nearest", update_resolution=100.0)]), [job])
        assert np.array_equal(job.param.numpy(), wanted), path


def test_a_square_root_through_binary64_is_correctly_rounded() -> None:
    """What a rule of the reference must write; torch's own binary32 square root is not correctly rounded everywhere."""
    bits = np.arange(1, 0x7F800000, 997, dtype=np.int64).astype(np.int32)
    value = torch.from_numpy(bits).view(torch.float32)
    assert np.array_equal(value.double().sqrt().float().numpy(), np.sqrt(value.numpy()))


@pytest.fixture
def flushing() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("torch cannot flush subnormals on this processor")
    yield
    torch.set_flush_denormal(False)


def subnormal_job() -> Job:
    generator = torch.Generator().manual_seed(4)
    size = 100_000  # several tasks, so that a second thread has work
    return Job(
        *(torch.randn(size, generator=generator) * 1e-38 for _ in range(2)), [torch.randn(size, generator=generator) * 1e-38]
    )


def is_flushing() -> bool:
    return float(torch.tensor([1e-40]) * 1.0) == 0.0


SUBNORMAL_STEP = Step("momentum", [settings(lr=0.5, momentum=0.5, weight_decay=0.25)])
TINY_LR_STEP = Step("plain", [settings(lr=1e-40)])


@pytest.fixture
def expected() -> tuple[Job, Job]:
    assert not is_flushing()
    small, tiny = subnormal_job(), Job(torch.zeros(100), torch.full((100,), 1e6))
    step_reference(SUBNORMAL_STEP, [small])
    step_reference(TINY_LR_STEP, [tiny])
    assert ((small.param != 0) & (small.param.abs() < 1e-38)).sum() > 1000
    return small, tiny


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("path", USABLE_PATHS)
def test_native_steps_keep_subnormals_while_torch_flushes_them(
    expected: tuple[Job, Job], flushing: None, path: str, threads: int
) -> None:
    small, tiny = subnormal_job_unflushed(), Job(torch.zeros(100), torch.full((100,), 1e6))
    step_native(SUBNORMAL_STEP, [small], path, threads)
    step_native(TINY_LR_STEP, [tiny], path, threads)
    assert is_flushing()  # the caller's flag is as it was
    torch.set_flush_denormal(False)
    assert compare_jobs([small, tiny], list(expected)) == []


@pytest.mark.parametrize("threads", [1, 2])
def test_native_steps_leave_the_flag_off_where_it_was_off(threads: int) -> None:
    step_native(SUBNORMAL_STEP, [subnormal_job()], "auto", threads)
    assert not is_flushing()


def subnormal_job_unflushed() -> Job:
    """The inputs are made while subnormals are kept."""
    torch.set_flush_denormal(False)
    job = subnormal_job()
    torch.set_flush_denormal(True)
    return job
