"""The step of the elements of a row, every stage once: the mirror of ``csrc/core/update.h``."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .blocks import largest_of_block
from .correct import correct_row
from .draw import GRAD_QUANTIZER, PARAM_ROUNDING, UPDATE_QUANTIZER, draw_halves, draw_noise
from .rounding import FLOAT32, OFF, draws_bits, quantize, quantize_block
from .rules import accumulate, displace, finish, precondition, second_moment_of, site_of

# --- update.h ---------------------------------------------------------------------------------------------------------


class Element(NamedTuple):
    """The values of a row's elements.

    root: sqrt(P) of the preconditioner. displacement: before it is quantized; delta: after, without noise that is added to it.
    """

    param: tl.tensor
    grad: tl.tensor
    states: tuple[tl.tensor, ...]
    root: tl.tensor
    displacement: tl.tensor
    delta: tl.tensor


@triton.jit
def unscale(s, g):
    """g * grad_multiplier."""
    return g * s.grad_multiplier


@triton.jit
def quantize_grad(s, g, draws):
    """The gradient's grid."""
    if s.grad_rounding != OFF:
        half = tl.zeros_like(g).to(tl.uint32)
        if draws_bits(s.grad_rounding):
            half = draw_halves(draws, GRAD_QUANTIZER)
        if s.grad_blocks:
            g = quantize_block(g, s.grad_rounding, s.grad_spacing, largest_of_block(g), half)
        else:
            g = quantize(g, s.grad_rounding, s.grad_resolution, s.grad_spacing, half)
    return g


@triton.jit
def add_weight_decay(s, g, param):
    """Coupled decay."""
    if s.weight_decay != 0.0:
        g = g + param * s.weight_decay
    return g


@triton.jit
def compensate(s, delta):
    """The compensation term."""
    if s.compensation != 0.0:
        delta = delta + delta * s.compensation
    return delta


@triton.jit
def quantize_update(s, delta, draws):
    """The displacement's grid."""
    if s.update_rounding != OFF:
        half = tl.zeros_like(delta).to(tl.uint32)
        if draws_bits(s.update_rounding):
            half = draw_halves(draws, UPDATE_QUANTIZER)
        delta = quantize(delta, s.update_rounding, s.update_resolution, s.update_spacing, half)
    return delta


@triton.jit
def root_of_noise(RULE: tl.constexpr, e):
    """What noise is multiplied with besides its scale: sqrt(P), and 0 where the second moment is 0, as P is 1 / eps there."""
    if second_moment_of(RULE) < 0:
        return e.root
    else:
        return tl.where(e.states[second_moment_of(RULE)] == 0.0, 0.0, e.root)


@triton.jit
def scaled_noise(RULE: tl.constexpr, s, e, noise):
    """Noise in the unit of its site."""
    noise = noise * s.noise_scale
    if second_moment_of(RULE) >= 0:
        noise = noise * root_of_noise(RULE, e)
    return noise


@triton.jit
def moving_noise(RULE: tl.constexpr, row, e, noise):
    """The noise as it moves the parameter in this step."""
    noise = scaled_noise(RULE, row.common, e, noise)
    if site_of(RULE) == "velocity":
        noise = noise * row.rule.displacement_factor
    return noise


@triton.jit
def move_param(s, param, delta):
    """Decoupled decay, then the displacement."""
    if s.decoupled_weight_decay != 0.0:
        param = param - param * s.decoupled_weight_decay
    return param + delta


@triton.jit
def update(RULE: tl.constexpr, STORED: tl.constexpr, row, draws, noisy, e):
    """The new values, in binary32. noisy: the tensor takes noise and noise_scale > 0. STORED: the parameter's storage type."""
    s = row.common
    g = unscale(s, e.grad)
    g = quantize_grad(s, g, draws)
    g = add_weight_decay(s, g, e.param)
    states = accumulate(RULE, row.rule, g, e.states)
    root = precondition(RULE, row.rule, states)
    e = Element(e.param, g, states, root, g, g)
    if site_of(RULE) == "velocity":
        velocity = states[0]
        if noisy:
            velocity = velocity + scaled_noise(RULE, s, e, draw_noise(s.noise, draws))
        states = (velocity,) + states[1:]  # noqa: RUF005  # Triton has no star in a tuple
    delta = displace(RULE, row.rule, g, root, states)
    delta = compensate(s, delta)
    displacement = delta
    delta = quantize_update(s, delta, draws)
    quantized = delta
    ONTO_DELTA: tl.constexpr = site_of(RULE) == "displacement"
    if ONTO_DELTA:  # noqa: SIM102  # two of the conditions are known when a kernel is compiled
        if noisy:  # noqa: SIM102
            if s.corrected_param == 0:
                delta = delta + scaled_noise(RULE, s, e, draw_noise(s.noise, draws))
    param = move_param(s, e.param, delta)
    if ONTO_DELTA:  # noqa: SIM102
        if noisy:  # noqa: SIM102
            if s.corrected_param != 0:
                mean, deviation = param, root_of_noise(RULE, e) * s.noise_scale
                half = tl.zeros_like(mean).to(tl.uint32)
                if STORED != FLOAT32:
                    half = draw_halves(draws, PARAM_ROUNDING)
                param = correct_row(STORED, mean, deviation, draw_noise(s.noise, draws), half, s.noise_scale)
                delta = delta + (param - mean)
    states = finish(RULE, row.rule, delta, states)
    return Element(param, g, states, root, displacement, quantized)
