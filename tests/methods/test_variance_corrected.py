"""The variance-corrected rounding: a step's mean and variance on every grid; what a chain in bf16 samples with and without it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import SGLD, CoolMomentum, HyperparameterError, LangevinAdam, LangevinRMSprop
from qlangevin.reference_correct import correct
from qlangevin.reference_numbers import round_to
from tests.tolerances import bound

from .replicas import check_mean

REPLICAS = 200_000
BF16, F16 = torch.bfloat16, torch.float16
DIGITS = {BF16: 7, F16: 10}
MEANS = (1.0, 1.3, 0.7, 1.98, -1.001, -0.5, 0.01, 3.3e-3, 255.0, 0.0)
RATIOS = (0.02, 0.1, 0.3, 0.49, 0.51, 1.0, 3.0)  # of the noise's deviation to the grid's spacing


def draw(dtype: torch.dtype, mean: float, scale: float) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(REPLICAS, generator=generator)
    half = torch.randint(0, 1 << 16, (REPLICAS,), generator=generator)
    return correct(dtype, torch.full((REPLICAS,), mean), torch.full((REPLICAS,), scale), noise, half)


def spacing_at(dtype: torch.dtype, mean: float) -> float:
    return 2.0 ** (math.floor(math.log2(abs(mean) if mean else 1e-3)) - DIGITS[dtype])


def near_the_end(dtype: torch.dtype, mean: float, scale: float) -> bool:
    """Whether noise between half a spacing and one reaches over the end of the binade."""
    spacing = spacing_at(dtype, mean)
    return 0.5 * spacing < scale <= spacing and abs(mean) + 2.0 * scale > 2.0 ** (DIGITS[dtype] + 1) * spacing


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("dtype", [BF16, F16])
def test_a_step_s_mean_and_variance(dtype: torch.dtype, mean: float, ratio: float) -> None:
    spacing = spacing_at(dtype, mean)
    scale = torch.tensor(ratio * spacing).item()
    values = draw(dtype, mean, scale).double()
    share = torch.tensor(mean).item() / spacing % 1.0
    least = share * (1.0 - share) * spacing**2  # of any rounding to the two neighbours that keeps the mean
    assert (values.to(dtype).double() == values).all()
    centred = values.numpy() - torch.tensor(mean).item()
    check_mean(centred, 0.0)
    if near_the_end(dtype, mean, scale):
        excess = float((centred**2).mean()) / scale**2 - 1.0
        assert -bound("z") * math.sqrt(2.0 / REPLICAS) < excess < bound("corrected_end")
    elif least <= scale**2:
        check_mean(centred**2, scale**2)
    else:
        check_mean(centred**2, least)


def test_it_draws_from_four_places_where_the_noise_is_narrow() -> None:
    values = draw(BF16, 1.0 + 2.0**-8, 0.5 * 2.0**-7)  # half a spacing above 1: rounding has all of the variance
    assert set(((values - 1.0) * 128).tolist()) == {0.0, 1.0}
    values = draw(BF16, 1.0 + 2.0**-10, 0.49 * 2.0**-7)
    assert set(((values - 1.0) * 128).tolist()) == {-1.0, 0.0, 1.0, 2.0}


def test_at_the_end_of_a_binade_the_next_place_but_one_is_taken() -> None:
    values = draw(BF16, 255.9, 0.49)
    assert set(values.tolist()) == {254.0, 255.0, 256.0, 258.0}


@pytest.mark.parametrize("dtype", [BF16, F16])
def test_without_noise_it_is_stochastic_rounding(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    mean = torch.randn(REPLICAS, generator=generator)
    half = torch.randint(0, 1 << 16, (REPLICAS,), generator=generator)
    values = correct(dtype, mean, torch.zeros(()).expand(REPLICAS), mean, half)
    assert torch.isin(
        values.to(dtype).view(torch.int16) - round_to(mean, dtype, None).view(torch.int16), torch.tensor([-1, 0, 1])
    ).all()
    errors = (values.double() - mean.double()) / mean.double().abs()
    check_mean(errors.numpy(), 0.0)
    naive = (round_to(mean, dtype, half).double() - mean.double()) / mean.double().abs()
    check_mean((errors**2).numpy(), float((naive**2).mean()))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 3e38])
def test_what_has_no_grid_passes(value: float) -> None:
    got = draw(BF16, value, 1.0)
    assert torch.equal(got.isnan(), torch.full_like(got, value).isnan())
    assert math.isnan(value) or bool((got == value).all())


CENTRE, TEMPERATURE, LR = 100.0, 1.0, 0.05  # bf16 has a spacing of 1/2 there: rounding adds 0.04 a step to the noise's 0.1


def variance_of_chain(backend: str, dtype: torch.dtype, rounding: str, kind: Any = SGLD, **options: Any) -> tuple[float, float]:
    """The sampled variance, and its standard error."""
    param = Parameter(torch.full((40_000,), CENTRE).to(dtype))
    optimizer = kind([param], LR, temperature=TEMPERATURE, param_rounding=rounding, seed=3, backend=backend, **options)
    for _ in range(200):
        param.grad = (param.detach().float() - CENTRE).to(dtype)
        optimizer.step()
    x = param.detach().double() - CENTRE
    squares = x * x
    return float(squares.mean()), float(squares.std()) / math.sqrt(len(x))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_chain_in_bf16_samples_at_its_temperature_only_when_corrected(backend: str) -> None:
    exact = TEMPERATURE / (1.0 - LR / 2.0)
    variance, error = variance_of_chain(backend, BF16, "variance_corrected")
    assert abs(variance - exact) < bound("z") * error
    naive, error = variance_of_chain(backend, BF16, "stochastic")
    assert naive - exact > 4.0 * bound("z") * error and naive > 1.3 * exact  # 0.04 on 0.1 a step
    in_float32, error = variance_of_chain(backend, torch.float32, "variance_corrected")
    assert abs(in_float32 - exact) < bound("z") * error


def test_metrics_warn_once_of_storage_that_heats() -> None:
    param = Parameter(torch.full((1000,), CENTRE).to(BF16))
    optimizer = SGLD([param], LR, temperature=TEMPERATURE, seed=3)
    optimizer.collect_metrics()
    param.grad = torch.ones(1000).to(BF16)
    optimizer.step()
    with pytest.warns(UserWarning, match="variance_corrected"):
        assert float(optimizer.metrics().groups[0]["rounding_over_noise"]) > 0.1
    optimizer.metrics()  # warnings are errors here: no second one
    corrected = SGLD([param], LR, temperature=TEMPERATURE, seed=3, param_rounding="variance_corrected")
    corrected.collect_metrics()
    corrected.step()
    assert float(corrected.metrics().groups[0]["rounding_over_noise"]) == 0.0


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SGLD, {"momentum": 0.9}),
        (SGLD, {"integrator": "leimkuhler_matthews"}),
        (CoolMomentum, {"momentum": 0.5}),
    ],
)
def test_it_is_refused_where_noise_does_not_move_the_parameter_alone(kind: Any, options: dict[str, Any]) -> None:
    param = Parameter(torch.ones(3))
    with pytest.raises(HyperparameterError, match="param_rounding"):
        kind([param], 0.1, temperature=1.0, param_rounding="variance_corrected", **options)
    kind([param], 0.1, temperature=0.0, param_rounding="variance_corrected", **options)


@pytest.mark.parametrize("kind", [LangevinRMSprop, LangevinAdam])
def test_preconditioned_noise_is_corrected_too(kind: Any) -> None:
    """Gradients of 1, so that P = 1: the same chain as SGLD's but for the drift."""
    param = Parameter(torch.full((100_000,), CENTRE).to(BF16))
    optimizer = kind([param], LR, temperature=TEMPERATURE, param_rounding="variance_corrected", eps=0.0, seed=3)
    param.grad = torch.ones_like(param)
    optimizer.step()
    root = float(optimizer.state[param].get("square_avg", torch.ones(1))[0]) ** 0.25
    correction = 0.1 if kind is LangevinAdam else 1.0
    moved = (param.detach().double() - CENTRE).numpy()
    variance = 2.0 * LR * TEMPERATURE / root**2 / correction
    check_mean((moved - moved.mean()) ** 2, variance)
