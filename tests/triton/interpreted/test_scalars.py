"""What scalars are made of, in binary64 before it is rounded: Triton = reference, in Triton's interpreter."""

from __future__ import annotations

import random

import pytest
import torch
import triton
import triton.language as tl

from qlangevin import reference_numbers
from qlangevin.reference_rules import RULES
from qlangevin.triton_kernels import rules, scalars
from qlangevin.triton_kernels.scalars import Hyper

COUNT = tl.constexpr(1024)


@triton.jit
def variance_kernel(numbers, steps, results, RULE: tl.constexpr):
    at = tl.arange(0, COUNT)
    lr, temperature = tl.load(numbers + at), tl.load(numbers + COUNT + at)
    own = ()
    for k in tl.static_range(6):
        own = own + (tl.load(numbers + COUNT * (2 + k) + at),)  # noqa: RUF005
    h = Hyper(lr, temperature, lr, lr, lr, lr, lr, own, at, at, at, at, at, at, at)
    tl.store(results + at, rules.noise_variance(RULE, h, tl.load(steps + at)))


@pytest.mark.parametrize("rule", RULES)
def test_variances_before_they_are_rounded(rule: str) -> None:
    """There the order of operations shows, which a number rounded to binary32 hides."""
    generator, names = torch.Generator().manual_seed(4), RULES[rule].hypers
    numbers = torch.rand((8, COUNT.value), generator=generator, dtype=torch.float64)
    steps = torch.randint(1, 200, (COUNT.value,), generator=generator)
    if rule.startswith("adam"):  # epsilon_hat, momentum_in_drift, frozen_at
        numbers[5:7], numbers[7] = (numbers[5:7] < 0.5).double(), torch.randint(0, 200, (COUNT.value,), generator=generator)
    got = torch.empty(COUNT.value, dtype=torch.float64)
    variance_kernel[(1,)](numbers, steps, got, rule)
    hypers = [dict(zip(("lr", "temperature", *names), values, strict=False)) for values in numbers.T.tolist()]
    assert got.tolist() == [RULES[rule].noise_variance(h, step) for h, step in zip(hypers, steps.tolist(), strict=True)]


@triton.jit
def power_kernel(bases, exponents, results):
    at = tl.arange(0, COUNT)
    tl.store(results + at, scalars.power(tl.load(bases + at), tl.load(exponents + at)))


def test_powers_of_every_step() -> None:
    """A lane of a block goes on multiplying when its power is made."""
    draw = random.Random(3)
    exponents = [
        draw.choice((0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1, 2**32, draw.randrange(2 ** draw.randrange(1, 33))))
        for _ in range(COUNT.value)
    ]
    bases = [draw.choice((0.0, 0.5, 1 - 2.0**-53, 1.0, 0.9, 1 - draw.random() / 2 ** draw.randrange(40))) for _ in exponents]
    got = torch.empty(COUNT.value, dtype=torch.float64)
    power_kernel[(1,)](torch.tensor(bases, dtype=torch.float64), torch.tensor(exponents), got)
    assert got.tolist() == [reference_numbers.power(*both) for both in zip(bases, exponents, strict=True)]
