"""The reference against the step's formulas in binary64, with a bound derived from the number of roundings (tier T1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from qlangevin.reference_numbers import BYTE_SUM_INVERSE_SD, BYTE_SUM_MEAN, NORMAL_COEFFICIENTS
from tests.tolerances import bound

from . import oracle
from .kernels import Job, Step, settings, step_reference
from .noise_law import sums_of

Array = NDArray[np.float64]
KEY, CHAIN, SIZE = 0xFEDCBA9876543210, 3, 4000
ROUNDINGS = bound("step_roundings")


@dataclass(frozen=True)
class Bounded:
    """A value with the sum of the absolute values of its terms, which its rounding errors are proportional to."""

    value: Array
    size: Array

    def __add__(self, other: Bounded) -> Bounded:
        return Bounded(self.value + other.value, self.size + other.size)

    def __mul__(self, factor: float) -> Bounded:
        return Bounded(self.value * factor, self.size * abs(factor))


def exactly(value: Array) -> Bounded:
    return Bounded(value, np.abs(value))


def draw_noise(kind: str, steps: int) -> Bounded:
    """Noise values from an independent Philox; a polynomial's size is that of its terms."""
    if kind == "gaussian":
        x = (sums_of(oracle.draw_words(KEY, steps, CHAIN, SIZE)) - BYTE_SUM_MEAN) * BYTE_SUM_INVERSE_SD
        powers = [x ** (2 * k + 1) for k in range(7)]
        terms = [c * power for c, power in zip(NORMAL_COEFFICIENTS, powers, strict=True)]
        return Bounded(np.sum(terms, axis=0), np.sum(np.abs(terms), axis=0))
    half = oracle.draw_halves(KEY, steps, CHAIN, SIZE, 0)
    if kind == "uniform":
        return exactly((half - 32767.5) * np.sqrt(12 / (2.0**32 - 1)))
    return exactly(np.where(half < 32768, 1.0, -1.0))


def step_in_binary64(
    rule: str, h: dict[str, Any], steps: int, multiplier: float, p: Array, g: Array, v: Array
) -> tuple[Bounded, Bounded]:
    """The new parameter and velocity: architecture.md's step without quantizers, and its thermostat."""
    param, grad = exactly(p), exactly(g) * multiplier + exactly(p) * h["weight_decay"]
    if rule == "plain":
        noise = draw_noise(h["noise"], steps) * np.sqrt(2 * h["lr"] * h["temperature"])
        return param + param * (-h["lr"] * h["decoupled_weight_decay"]) + grad * -h["lr"] + noise, exactly(v)
    undamped = 1.0 if steps == 1 else 1.0 - h["dampening"]
    noise = draw_noise(h["noise"], steps) * np.sqrt(2 * (1 - h["momentum"]) * h["temperature"] / h["lr"])
    velocity = exactly(v) * h["momentum"] + grad * undamped + noise
    direction = grad + velocity * h["momentum"] if h["nesterov"] else velocity
    return param + param * (-h["lr"] * h["decoupled_weight_decay"]) + direction * -h["lr"], velocity


OPTIONS: list[tuple[str, dict[str, Any], int, float]] = [
    ("plain", {}, 1, 1.0),
    ("plain", {"lr": 0.01, "temperature": 0.5}, 9, 1.0),
    ("plain", {"lr": 0.3, "temperature": 2.0, "noise": "uniform", "weight_decay": 0.1}, 1, -0.7),
    ("plain", {"lr": 1e-4, "temperature": 1e-3, "noise": "rademacher", "decoupled_weight_decay": 0.1}, 3, 1.0),
    ("momentum", {"lr": 0.01, "momentum": 0.9}, 1, 1.0),
    ("momentum", {"lr": 0.01, "momentum": 0.9, "dampening": 0.3, "nesterov": True}, 2, 0.3),
    ("momentum", {"lr": 0.1, "momentum": 0.5, "temperature": 1.0}, 1, 1.0),
    ("momentum", {"lr": 0.1, "momentum": 0.99, "temperature": 1.0, "dampening": 0.5, "weight_decay": 0.3}, 1, 1.0),
    ("momentum", {"lr": 0.1, "momentum": 0.99, "temperature": 0.1, "dampening": 0.5, "decoupled_weight_decay": 0.3}, 7, -1.0),
    ("momentum", {"lr": 1e-3, "momentum": 0.9, "temperature": 0.1, "noise": "uniform", "nesterov": True}, 7, 1.0),
]


@pytest.mark.parametrize(("rule", "changes", "steps", "multiplier"), OPTIONS)
def test_the_reference_is_its_formula(rule: str, changes: dict[str, Any], steps: int, multiplier: float) -> None:
    generator = torch.Generator().manual_seed(steps)
    p, g, v = (torch.randn(SIZE, generator=generator) * scale for scale in (1.0, 3.0, 10.0))
    h = settings(**changes)
    param, velocity = step_in_binary64(rule, h, steps, multiplier, p.double().numpy(), g.double().numpy(), v.double().numpy())
    job = Job(p, g, [v] if rule == "momentum" else [], KEY, steps=torch.tensor(steps - 1))
    step_reference(Step(rule, [h], (multiplier,), CHAIN), [job])
    for got, wanted in ((job.param, param), (v, velocity)):
        assert (np.abs(got.double().numpy() - wanted.value) <= ROUNDINGS * 2.0**-24 * wanted.size).all()


def test_binary64_parameters_are_stepped_in_binary64() -> None:
    h = settings(lr=0.01, momentum=0.9, weight_decay=0.1)
    p, g, v = (torch.randn(SIZE, dtype=torch.float64) for _ in range(3))
    scalars = {name: float(np.float32(h[name])) for name in ("lr", "momentum", "weight_decay")}  # scalars stay binary32
    param, velocity = step_in_binary64("momentum", h | scalars, 5, 1.0, p.numpy(), g.numpy(), v.numpy())
    step_reference(Step("momentum", [h]), [Job(p, g, [v], steps=torch.tensor(4))])
    for got, wanted in ((p, param), (v, velocity)):
        assert (np.abs(got.numpy() - wanted.value) <= ROUNDINGS * 2.0**-53 * wanted.size).all()
