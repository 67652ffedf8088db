"""What must change nothing, exactly (numerics.md section 6)."""

from __future__ import annotations

import math

import pytest
import torch

from qlangevin.reference_rules import RULES

from .cases import RULE_ROWS, make_values
from .kernels import DTYPES, USABLE_PATHS, Job, Step, bits_of, compare_jobs, settings, step_native, step_reference

STEPPERS = ("reference", *USABLE_PATHS)
SIZE = 5000
EVERYTHING = {
    "temperature": 1.0,
    "weight_decay": 0.1,
    "decoupled_weight_decay": 0.1,
    "stochastic_param": True,
    "stochastic_state": True,
    "grad_rounding": "stochastic",
    "grad_resolution": 64.0,
    "update_rounding": "dither",
    "update_resolution": 64.0,
}


def take_step(path: str, step: Step, jobs: list[Job]) -> None:
    if path == "reference":
        step_reference(step, jobs)
    else:
        step_native(step, jobs, path, 2)


def make_job(row: str, dtype: str, kind: str = "special") -> Job:
    states = [make_values("normal", SIZE, "float32", 3 + k) for k in range(len(RULES[RULE_ROWS[row][0]].states))]
    return Job(make_values(kind, SIZE, dtype, 1), make_values("normal", SIZE, dtype, 2), states, key=5, offset=3)


@pytest.mark.parametrize("path", STEPPERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", RULE_ROWS)
def test_lr_0_leaves_every_bit_of_the_parameters(path: str, dtype: str, row: str) -> None:
    rule, hypers = RULE_ROWS[row]
    job = make_job(row, dtype)
    before = bits_of(job.param).clone()
    values = job.param.float()
    assert torch.isnan(values).any() and torch.isinf(values).any() and ((values == 0) & values.signbit()).any()
    take_step(path, Step(rule, [settings(**EVERYTHING, **hypers, lr=0.0)]), [job])
    assert bits_of(job.param).equal(before)


@pytest.mark.parametrize("path", STEPPERS)
@pytest.mark.parametrize("row", RULE_ROWS)
def test_a_tensor_without_noise_is_one_at_temperature_0(path: str, row: str) -> None:
    rule, hypers = RULE_ROWS[row]
    silent, cold = make_job(row, "bfloat16", "wide"), make_job(row, "bfloat16", "wide")
    silent.noise = False
    take_step(path, Step(rule, [settings(**EVERYTHING, **hypers)]), [silent])
    take_step(path, Step(rule, [settings(**EVERYTHING | {"temperature": 0.0}, **hypers)]), [cold])
    assert compare_jobs([silent], [cold]) == []
    noisy = make_job(row, "bfloat16", "wide")
    take_step(path, Step(rule, [settings(**EVERYTHING, **hypers)]), [noisy])
    assert compare_jobs([noisy], [cold]) != []


@pytest.mark.parametrize("path", STEPPERS)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "floor", "dither"])
@pytest.mark.parametrize("which", ["grad", "update"])
def test_an_infinite_resolution_is_no_quantizer(path: str, rounding: str, which: str) -> None:
    off, infinite, coarse = (make_job("momentum", "float32", "wide") for _ in range(3))
    common = {"temperature": 0.5, "momentum": 0.9}
    take_step(path, Step("momentum", [settings(**common)]), [off])
    take_step(
        path,
        Step("momentum", [settings(**common, **{f"{which}_rounding": rounding, f"{which}_resolution": math.inf})]),
        [infinite],
    )
    take_step(
        path, Step("momentum", [settings(**common, **{f"{which}_rounding": rounding, f"{which}_resolution": 4.0})]), [coarse]
    )
    assert compare_jobs([infinite], [off]) == []
    assert compare_jobs([coarse], [off]) != []


@pytest.mark.parametrize("path", STEPPERS)
def test_zero_decay_keeps_an_infinite_parameter(path: str) -> None:
    """Absent stages are skipped, not multiplied by 0: Inf * 0 would be NaN, and -0.0 + 0.0 would lose its sign."""
    job = Job(torch.tensor([math.inf, -math.inf, -0.0]), torch.tensor([1.0, 1.0, 0.0]))
    take_step(path, Step("plain", [settings(lr=0.5)]), [job])
    assert job.param.tolist() == [math.inf, -math.inf, 0.0]
    assert bool(job.param.signbit()[2])


@pytest.mark.parametrize("path", STEPPERS)
def test_a_gradient_that_is_not_finite_gives_nothing_finite(path: str) -> None:
    """NaN stays NaN, and Inf is Inf or NaN; neither becomes a finite value in any storage type."""
    for dtype in DTYPES.values():
        grad = torch.tensor([math.nan, math.inf, -math.inf, 0.0]).to(dtype)
        job = Job(torch.zeros(4, dtype=dtype), grad, [torch.zeros(4, dtype=torch.bfloat16)])
        take_step(path, Step("momentum", [settings(**EVERYTHING, momentum=0.9)]), [job])
        for stored in (job.param, job.states[0]):
            assert torch.isnan(stored[0]) and not torch.isfinite(stored[1:3]).any() and torch.isfinite(stored[3])
