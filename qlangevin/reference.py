"""The step in plain torch, one operation per line: the specification in executable form, and the oracle of every test.

Names and order are those of ``csrc/core``; the bits are the same on every backend. Runs on any device. Everything is
binary32 (binary64 for binary64 parameters, which have no other backend).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .reference_correct import correct
from .reference_grids import DRAWING, largest_of_block, quantize, quantize_block
from .reference_numbers import (
    GRAD_QUANTIZER,
    PARAM_ROUNDING,
    STATE_ROUNDING,
    UPDATE_QUANTIZER,
    Coordinates,
    flatten,
    noise_value,
    round_once,
    round_to,
    sum_fixed,
    sum_squares,
)
from .reference_rules import Plain

# --- scalars.h --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scalars:
    """What every rule needs of one step; absent stages are marked by 0 or "off" and skipped."""

    grad_multiplier: float
    weight_decay: float
    lr: float
    decoupled_weight_decay: float
    noise_scale: float
    compensation: float
    noise: str
    grad_rounding: str
    grad_resolution: float
    grad_spacing: float
    update_rounding: str
    update_resolution: float
    update_spacing: float
    stochastic_param: bool
    stochastic_state: bool
    corrected_param: bool
    grad_blocks: bool


@dataclass(frozen=True)
class Row:
    """The scalars of one group at one step."""

    common: Scalars
    rule: Mapping[str, float]
    step: int
    chain: int


def make_row(rule: type[Plain], h: Mapping[str, Any], grad_multiplier: float, step: int, chain: int) -> Row:
    """Scalars from hyper-parameters, in binary64 from + - * / sqrt only, rounded once."""
    once = round_once
    lr = once(h["lr"])
    noisy = lr > 0 and h["temperature"] > 0
    common = Scalars(
        grad_multiplier=once(grad_multiplier),
        weight_decay=once(h["weight_decay"]),
        lr=lr,
        decoupled_weight_decay=once(h["lr"] * h["decoupled_weight_decay"]),
        noise_scale=once(math.sqrt(rule.noise_variance(h, step))) if noisy else 0.0,
        compensation=0.0,  # of a tensor, not of its group: see Part
        noise=h["noise"],
        grad_rounding="off" if math.isinf(h["grad_resolution"]) else h["grad_rounding"],
        grad_resolution=once(h["grad_resolution"]),
        grad_spacing=once(1.0 / h["grad_resolution"]),
        update_rounding="off" if math.isinf(h["update_resolution"]) else h["update_rounding"],
        update_resolution=once(h["update_resolution"]),
        update_spacing=once(1.0 / h["update_resolution"]),
        stochastic_param=h["stochastic_param"],
        stochastic_state=h["stochastic_state"],
        corrected_param=h["corrected_param"],
        grad_blocks=h["grad_blocks"],
    )
    return Row(common, rule.prepare(h, step), step, chain)


# --- update.h ---------------------------------------------------------------------------------------------------------


def unscale(s: Scalars, g: Tensor) -> Tensor:
    return g * s.grad_multiplier


def quantize_grad(s: Scalars, g: Tensor, at: Coordinates) -> Tensor:
    if s.grad_rounding == "off":
        return g
    half = at.draw_halves(GRAD_QUANTIZER) if s.grad_rounding in DRAWING else None
    if s.grad_blocks:
        return quantize_block(g, s.grad_rounding, s.grad_spacing, largest_of_block(g, at.offset), half)
    return quantize(g, s.grad_rounding, s.grad_resolution, s.grad_spacing, half)


def add_weight_decay(s: Scalars, g: Tensor, param: Tensor) -> Tensor:
    if s.weight_decay == 0.0:
        return g
    return g + param * s.weight_decay


def compensate(s: Scalars, delta: Tensor) -> Tensor:
    if s.compensation == 0.0:
        return delta
    return delta + delta * s.compensation


def quantize_update(s: Scalars, delta: Tensor, at: Coordinates) -> Tensor:
    if s.update_rounding == "off":
        return delta
    half = at.draw_halves(UPDATE_QUANTIZER) if s.update_rounding in DRAWING else None
    return quantize(delta, s.update_rounding, s.update_resolution, s.update_spacing, half)


def root_of_noise(rule: type[Plain], e: Element) -> Tensor:
    """What the noise of an element is multiplied with besides its scale: sqrt(P), 0 where the second moment is 0."""
    assert e.root is not None
    return e.root if rule.second_moment < 0 else torch.where(e.states[rule.second_moment] == 0.0, 0.0, e.root)


def scaled_noise(rule: type[Plain], s: Scalars, e: Element, noise: Tensor) -> Tensor:
    """Noise in the unit of its site."""
    noise = noise * s.noise_scale
    return noise if rule.second_moment < 0 else noise * root_of_noise(rule, e)


def moving_noise(rule: type[Plain], row: Row, noise: Tensor) -> Tensor:
    """Scaled noise as it moves the parameter in this step."""
    return noise * row.rule["displacement_factor"] if rule.site == "velocity" else noise


def move_param(s: Scalars, param: Tensor, delta: Tensor) -> Tensor:
    if s.decoupled_weight_decay != 0.0:
        param = param - param * s.decoupled_weight_decay
    return param + delta


@dataclass
class Element:
    """The flat values of one tensor during a step; those that may be missing are what its statistics ask for besides."""

    param: Tensor
    grad: Tensor
    states: list[Tensor]
    stored_as: torch.dtype  # of the parameter
    root: Tensor | None = None  # sqrt(P) of the preconditioner
    displacement: Tensor | None = None  # before it is quantized
    delta: Tensor | None = None  # after that, without the noise that is added to it
    noise: Tensor | None = None  # in the unit of the rule's noise site
    stored: Tensor | None = None  # param as rounded to storage


def update(rule: type[Plain], row: Row, at: Coordinates, noisy: bool, e: Element) -> None:
    """The new (unrounded) parameter and states of one flat tensor, left in e."""
    s = row.common
    g = unscale(s, e.grad)
    g = quantize_grad(s, g, at)
    g = add_weight_decay(s, g, e.param)
    rule.accumulate(row.rule, g, e.states)
    e.root = rule.precondition(row.rule, e.states)
    drawn = noise_value(s.noise, at).to(g.dtype) if noisy else None
    if drawn is not None:
        e.noise = scaled_noise(rule, s, e, drawn)
    if rule.site == "velocity" and e.noise is not None:
        e.states[0] = e.states[0] + e.noise
    delta = rule.displace(row.rule, g, e.root, e.states)
    delta = compensate(s, delta)
    e.displacement = delta
    delta = quantize_update(s, delta, at)
    e.delta = delta
    onto_delta = noisy and rule.site == "displacement"
    if onto_delta and e.noise is not None and not s.corrected_param:
        delta = delta + e.noise
    e.param = move_param(s, e.param, delta)
    if onto_delta and drawn is not None and s.corrected_param:
        mean, deviation = e.param, root_of_noise(rule, e) * s.noise_scale
        half = at.draw_halves(PARAM_ROUNDING) if e.stored_as.itemsize == 2 else None
        e.param = correct(e.stored_as, mean, deviation, drawn, half)
        delta = delta + (e.param - mean)
    rule.finish(row.rule, delta, e.states)


def round_stored(value: Tensor, dtype: torch.dtype, at: Coordinates, purpose: int | None) -> Tensor:
    """value in its storage type: stochastic with the draw of a purpose, nearest without; types of 32 bits and more need none."""
    half = at.draw_halves(purpose) if purpose is not None and dtype.itemsize == 2 else None
    return round_to(value, dtype, half)


@dataclass(frozen=True)
class Part:
    """What a tensor brings along: its key, the place of its first element in the unsharded tensor, whether it takes noise.

    compensation: the compensation term over the displacement, a binary32 number. tail_index: of Levy noise.
    """

    key: int
    offset: int = 0
    noise: bool = True
    compensation: float = 0.0
    tail_index: float = 2.0


def run_tensor(rule: type[Plain], row: Row, part: Part, param: Tensor, grad: Tensor, states: Sequence[Tensor]) -> Element:
    """The values of one step of one tensor; nothing is stored.

    param, grad and states are dense and lie in memory in the same order.
    """
    at = Coordinates(part.key, row.step, row.chain, part.offset, param.numel(), param.device, part.tail_index)
    work = torch.float64 if param.dtype == torch.float64 else torch.float32
    if part.compensation != 0.0:
        row = replace(row, common=replace(row.common, compensation=part.compensation))
    e = Element(flatten(param).to(work), flatten(grad).to(work), [flatten(state).to(work) for state in states], param.dtype)
    update(rule, row, at, part.noise and row.common.noise_scale > 0.0, e)
    return e


def step_tensor(rule: type[Plain], row: Row, part: Part, param: Tensor, grad: Tensor, states: Sequence[Tensor]) -> Element | None:
    """One step of one tensor, in place; returns the values it went through (None for an empty tensor, which has none)."""
    if param.numel() == 0:
        return None
    at = Coordinates(part.key, row.step, row.chain, part.offset, param.numel(), param.device)
    e = run_tensor(rule, row, part, param, grad, states)
    s = row.common
    p = flatten(param)
    e.stored = p
    if s.lr != 0.0:
        e.stored = round_stored(e.param, p.dtype, at, PARAM_ROUNDING if s.stochastic_param else None)
        p.copy_(e.stored)
    for k, (state, value) in enumerate(zip(states, e.states, strict=True)):
        flatten(state).copy_(round_stored(value, state.dtype, at, STATE_ROUNDING + k if s.stochastic_state else None))
    return e


# --- statistics.h -----------------------------------------------------------------------------------------------------

STATISTICS = (
    "grad_squares",
    "displacement_squares",
    "displacement_sum",
    "update_squares",
    "quantizer_error",
    "noise_squares",
    "rounding_squares",
    "unmoved",
    "zeroed",
    "largest_displacement",
)  # csrc/core/statistics.h says what they are


def look_ahead(e: Element, offset: int) -> dict[str, Tensor]:
    """The statistics of a displacement that has not been taken."""
    assert e.displacement is not None
    magnitude = e.displacement.abs()
    largest = torch.where(magnitude.isnan(), 0.0, magnitude).max()
    return {"displacement_squares": sum_squares(e.displacement, offset), "largest_displacement": largest.double()}


def observe(rule: type[Plain], row: Row, part: Part, old: Tensor, e: Element) -> dict[str, Tensor]:
    """The statistics of one tensor's step from `old`, its flat parameter before; 0-dim binary64 tensors on its device.

    Those that are 0 or left out are missing.
    """
    assert e.displacement is not None and e.delta is not None and e.stored is not None
    s, at = row.common, part.offset
    found = {
        "grad_squares": sum_squares(unscale(s, e.grad), at),
        "update_squares": sum_squares(e.delta, at),
        "unmoved": (e.stored == old).sum().double(),
        "zeroed": (e.delta == 0).sum().double(),
    }
    found["displacement_squares"] = found["update_squares"]
    if s.update_rounding != "off":
        found |= look_ahead(e, at)
        found["displacement_sum"] = sum_fixed(e.displacement.double(), at)
        found["quantizer_error"] = sum_fixed(e.delta.double() - e.displacement.double(), at)
    if e.noise is not None:
        found["noise_squares"] = sum_squares(moving_noise(rule, row, e.noise), at)
    if old.dtype.itemsize == 2 and s.lr != 0.0:
        found["rounding_squares"] = sum_squares(e.stored.to(e.param.dtype) - e.param, at)
    return found
