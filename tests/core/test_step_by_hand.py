"""One step worked by hand to the last bit: momentum, bf16, noise, both roundings stochastic. Reference and every native path.

Key 0, chain 0, step 1, elements 0 and 1. momentum 1/2, dampening 1/4 (not applied at step 1), lr 1/8, temperature 1/32. The
noise of a momentum rule has variance 2 (1 - momentum) T / lr = 2 * 1/2 * 1/32 * 8 = 1/4 in the velocity: noise_scale = 1/2.

The 16 random bits, from Philox:    element 0    element 1
    noise (purpose 0)                0x15E1       0x8445      top bit clear: +1; set: -1
    parameter (purpose 2)            0xE18D       0x4773
    velocity (purpose 8)             0x9A80       0xC88E
bf16 has 8 significant bits, so its spacing on [1/2, 1) is 1/256; a value's last 16 bits in binary32 are what is rounded off,
and it goes away from zero if they and the random bits together carry.

Element 0: parameter 1, gradient 5/16, velocity 3/256.
    velocity = 1/2 * 3/256 + 5/16 + 1/2                 = 419/512       = 209.5 / 256
               0x3F518000, drops 0x8000; 0x8000 + 0x9A80 carries   ->     210 / 256 = 0x3F52
    parameter = 1 - 1/8 * 419/512 (not yet rounded)     = 3677/4096     = 229.8125 / 256
               0x3F65D000, drops 0xD000; 0xD000 + 0xE18D carries   ->     230 / 256 = 0x3F66

Element 1: parameter 1/2, gradient 1/16, velocity -129/1024.
    velocity = -1/2 * 129/1024 + 1/16 - 1/2             = -1025/2048    = -128.125 / 256
               0xBF002000, drops 0x2000; 0x2000 + 0xC88E = 0xE88E  ->    -128 / 256 = 0xBF00
    parameter = 1/2 + 1/8 * 1025/2048                   = 9217/16384    = 144.015625 / 256
               0x3F100400, drops 0x0400; 0x0400 + 0x4773 = 0x4B73  ->     144 / 256 = 0x3F10
"""

from __future__ import annotations

import pytest
import torch

from qlangevin import reference, reference_rules

from . import oracle
from .kernels import USABLE_PATHS, Job, Step, bits_of, settings, step_native, step_reference

SETTINGS = settings(
    lr=1 / 8,
    temperature=1 / 32,
    momentum=1 / 2,
    dampening=1 / 4,
    noise="rademacher",
    stochastic_param=True,
    stochastic_state=True,
)
HALVES = {0: [0x15E1, 0x8445], 2: [0xE18D, 0x4773], 8: [0x9A80, 0xC88E]}


def make_job(dtype: torch.dtype) -> Job:
    values = [[1.0, 1 / 2], [5 / 16, 1 / 16], [3 / 256, -129 / 1024]]
    param, grad, velocity = (torch.tensor(value).to(dtype) for value in values)
    return Job(param, grad, [velocity])


def test_the_random_bits_of_the_example() -> None:
    for purpose, halves in HALVES.items():
        assert [oracle.draw_half(0, 1, 0, element, purpose) for element in (0, 1)] == halves


def test_the_noise_scale_of_the_example() -> None:
    assert reference.make_row(reference_rules.RULES["momentum"], SETTINGS, 1.0, 1, 0).common.noise_scale == 0.5


@pytest.mark.parametrize("path", ["reference", *USABLE_PATHS])
def test_the_step_in_binary32(path: str) -> None:
    job = make_job(torch.float32)
    take_step(path, job)
    assert job.states[0].tolist() == [419 / 512, -1025 / 2048]
    assert job.param.tolist() == [3677 / 4096, 9217 / 16384]


@pytest.mark.parametrize("path", ["reference", *USABLE_PATHS])
def test_the_step_in_bf16(path: str) -> None:
    job = make_job(torch.bfloat16)
    take_step(path, job)
    assert (bits_of(job.states[0]).to(torch.int32) & 0xFFFF).tolist() == [0x3F52, 0xBF00]
    assert bits_of(job.param).tolist() == [0x3F66, 0x3F10]
    assert int(job.steps) == 1


def take_step(path: str, job: Job) -> None:
    step = Step("momentum", [SETTINGS])
    if path == "reference":
        step_reference(step, [job])
    else:
        step_native(step, [job], path)
