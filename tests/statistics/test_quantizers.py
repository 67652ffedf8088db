"""What quantizers and storage rounding do on average, through the native kernels (algorithms.md sections 1d and 7)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.core.kernels import Job, Step, settings, step_native
from tests.tolerances import bound

from .draws import Array

COUNT = 2_000_000
RESOLUTION = 64.0


def make_inputs(scale: float) -> Array:
    """Normal values as binary32, seeded."""
    return np.random.default_rng(5).normal(size=COUNT, scale=scale).astype(np.float32).astype(np.float64)


def quantize(values: Array, rounding: str, *, key: int = 1, resolution: float = RESOLUTION) -> Array:
    """The quantized values: one step of lr 1 from parameter 0 with gradient -x."""
    job = Job(torch.zeros(len(values)), torch.from_numpy(-values).float(), key=key)
    h = settings(lr=1.0, update_rounding=rounding, update_resolution=resolution)
    step_native(Step("plain", [h]), [job], threads=2)
    return job.param.double().numpy()


def check_mean(sample: Array, mean: float) -> None:
    """The sample's mean against an exact one."""
    assert abs(sample.mean() - mean) < bound("z") * sample.std() / math.sqrt(len(sample))


def check_uniform_variance(error: Array) -> None:
    """The variance of an error uniform on one spacing: 1/12, whose estimate has variance (1/80 - 1/144) / n."""
    centred = error * RESOLUTION - (error * RESOLUTION).mean()
    assert abs((centred**2).mean() * 12 - 1) < bound("z") * 12 * math.sqrt((1 / 80 - 1 / 144) / len(error))


@pytest.mark.parametrize(("rounding", "mean"), [("nearest", 0.0), ("floor", -0.5), ("dither", 0.0)])
def test_the_error_of_wide_inputs_is_uniform(rounding: str, mean: float) -> None:
    """Widrow: inputs that spread over several spacings have an error of variance 1 / (12 Q^2); floor's mean is -1 / (2 Q)."""
    values = make_inputs(2.0 / RESOLUTION)
    error = quantize(values, rounding) - values
    check_mean(error * RESOLUTION, mean)
    check_uniform_variance(error)


@pytest.mark.parametrize("fraction", [0.0625, 0.25, 0.5, 0.90625])
@pytest.mark.parametrize("base", [-3, 0, 2])
def test_stochastic_rounding_is_unbiased_with_variance_f_times_1_minus_f(base: int, fraction: float) -> None:
    sample = quantize(np.full(COUNT, (base + fraction) / RESOLUTION), "stochastic") * RESOLUTION
    assert set(np.unique(sample)) == {base, base + 1}
    variance = fraction * (1 - fraction)
    deviation = math.sqrt(variance / COUNT)
    assert abs(sample.mean() - (base + fraction)) < bound("z") * deviation  # the variance follows: two values, one mean


@pytest.mark.parametrize("value", [0.0, 0.1, -0.37, 0.5, 31.8])
def test_dither_errs_uniformly_at_every_value(value: float) -> None:
    values = np.full(COUNT, np.float32(value / RESOLUTION), np.float64)
    error = quantize(values, "dither") - values
    check_mean(error * RESOLUTION, 0.0)
    check_uniform_variance(error)
    assert np.abs(error).max() * RESOLUTION <= 0.5 + 2.0**-17


def test_dither_errs_independently_of_the_value() -> None:
    values = make_inputs(0.2 / RESOLUTION)  # narrow: nearest rounding's error is the value itself here
    scaled = values / values.std()
    for rounding, independent in (("dither", True), ("nearest", False)):
        error = (quantize(values, rounding) - values) * RESOLUTION * math.sqrt(12)
        for power in (1, 2):
            x, y = scaled**power - (scaled**power).mean(), error**power - (error**power).mean()
            z = (x * y).mean() / (x.std() * y.std()) * math.sqrt(COUNT)
            assert (abs(z) < bound("z")) == independent


@pytest.mark.parametrize("width", [0.1, 0.2, 0.3, 0.5, 1.0])
def test_the_nearest_error_of_normal_inputs_follows_widrow(width: float) -> None:
    """E e^2 = D^2 / 12 + D^2 / pi^2 sum (-1)^k / k^2 exp(-2 pi^2 k^2 s^2 / D^2), s the inputs' deviation, D the spacing."""
    error = quantize(make_inputs(width / RESOLUTION), "nearest") - make_inputs(width / RESOLUTION)
    squares = (error * RESOLUTION) ** 2
    k = np.arange(1, 200)
    series = ((-1.0) ** k / k**2 * np.exp(-2 * math.pi**2 * k**2 * width**2)).sum() / math.pi**2
    check_mean(squares, 1 / 12 + series)


def walk_exactly(steps: int, increment: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The law after `steps` stochastic roundings of x + increment from 1.0: values and probabilities of a Markov chain."""
    patterns = np.arange(0x3F80, 0x4060, dtype=np.int32)
    values = (patterns << 16).view(np.float32)
    up = np.array([round_up_share(value, np.float32(increment)) for value in values])
    law = np.zeros(len(values))
    law[0] = 1.0
    for _ in range(steps):
        law = law * (1 - up) + np.concatenate([[0.0], (law * up)[:-1]])
    return values.astype(np.float64), law


def round_up_share(value: np.float32, increment: np.float32) -> float:
    """The share of the 2^16 halves that round value + increment up: the dropped bits of the binary32 sum."""
    return float(int((value + increment).view(np.int32)) & 0xFFFF) / 65536


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_thousand_small_steps_in_bf16(stochastic: bool) -> None:
    """1 + 1000 * 0.001: nearest rounding never leaves 1; stochastic rounding arrives at 2 on average, with its exact spread."""
    replicas = 100_000
    job = Job(torch.ones(replicas, dtype=torch.bfloat16), torch.full((replicas,), -1.0), key=3)
    step = Step("plain", [settings(lr=1e-3, stochastic_param=stochastic)])
    for _ in range(1000):
        step_native(step, [job], threads=2)
    got = job.param.double().numpy()
    if not stochastic:
        assert (got == 1.0).all()
        return
    values, law = walk_exactly(1000, 1e-3)
    mean = float((values * law).sum())
    central = [float(((values - mean) ** power * law).sum()) for power in (2, 4)]
    assert abs(mean - 2.0) < 1000 * 2.0**-23  # each step's binary32 sum, below 4
    assert abs(got.mean() - mean) < bound("z") * math.sqrt(central[0] / replicas)
    assert abs(got.var() - central[0]) < bound("z") * math.sqrt((central[1] - central[0] ** 2) / replicas)
