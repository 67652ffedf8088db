"""The step in plain torch, one operation per line: the specification in executable form, and the oracle of every test.

Names and order are those of ``csrc/core``; the bits are the same on every backend. Runs on any device. Everything is
binary32 (binary64 for binary64 parameters, which have no other backend).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .reference_numbers import (
    DRAWING,
    GRAD_QUANTIZER,
    PARAM_ROUNDING,
    STATE_ROUNDING,
    UPDATE_QUANTIZER,
    Coordinates,
    flatten,
    noise_value,
    quantize,
    round_to,
    sum_fixed,
    sum_squares,
)

# --- scalars.h --------------------------------------------------------------------------------------------------------


def round_once(value: float) -> float:
    """A binary64 number rounded to binary32."""
    return torch.tensor(value, dtype=torch.float64, device="cpu").to(torch.float32).item()


@dataclass(frozen=True)
class Scalars:
    """What every rule needs of one step; absent stages are marked by 0 or "off" and skipped."""

    grad_multiplier: float
    weight_decay: float
    lr: float
    decoupled_weight_decay: float
    noise_scale: float
    noise: str
    grad_rounding: str
    grad_resolution: float
    grad_spacing: float
    update_rounding: str
    update_resolution: float
    update_spacing: float
    stochastic_param: bool
    stochastic_state: bool


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
        noise_scale=once(math.sqrt(rule.noise_variance(h))) if noisy else 0.0,
        noise=h["noise"],
        grad_rounding="off" if math.isinf(h["grad_resolution"]) else h["grad_rounding"],
        grad_resolution=once(h["grad_resolution"]),
        grad_spacing=once(1.0 / h["grad_resolution"]),
        update_rounding="off" if math.isinf(h["update_resolution"]) else h["update_rounding"],
        update_resolution=once(h["update_resolution"]),
        update_spacing=once(1.0 / h["update_resolution"]),
        stochastic_param=h["stochastic_param"],
        stochastic_state=h["stochastic_state"],
    )
    return Row(common, rule.prepare(h, step), step, chain)


# --- rules.h ----------------------------------------------------------------------------------------------------------


class Plain:
    """delta = -lr g."""

    name = "plain"
    hypers: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    site = "displacement"

    @staticmethod
    def noise_variance(h: Mapping[str, Any]) -> float:
        return float(2.0 * h["lr"] * h["temperature"])

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {}

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        pass

    @staticmethod
    def displace(lr: float, s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> Tensor:
        return -(g * lr)

    @staticmethod
    def finish(s: Mapping[str, float], delta: Tensor, x: list[Tensor]) -> None:
        pass


class Momentum(Plain):
    """velocity = momentum velocity + (1 - dampening) g, delta = -lr velocity, as torch.optim.SGD has it."""

    name = "momentum"
    hypers = ("momentum", "dampening", "nesterov")
    states = ("momentum_buffer",)
    site = "velocity"

    @staticmethod
    def noise_variance(h: Mapping[str, Any]) -> float:
        return float(2.0 * (1.0 - h["momentum"]) * h["temperature"] / h["lr"])

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {
            "momentum": round_once(h["momentum"]),
            "grad_factor": 1.0 if step == 1 else round_once(1.0 - h["dampening"]),
            "nesterov": float(h["nesterov"]),
        }

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        x[0] = x[0] * s["momentum"] + g * s["grad_factor"]

    @staticmethod
    def displace(lr: float, s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> Tensor:
        if s["nesterov"]:
            return -((g + x[0] * s["momentum"]) * lr)
        return -(x[0] * lr)


RULES: dict[str, type[Plain]] = {rule.name: rule for rule in (Plain, Momentum)}


# --- update.h ---------------------------------------------------------------------------------------------------------


def unscale(s: Scalars, g: Tensor) -> Tensor:
    return g * s.grad_multiplier


def quantize_grad(s: Scalars, g: Tensor, at: Coordinates) -> Tensor:
    if s.grad_rounding == "off":
        return g
    half = at.draw_halves(GRAD_QUANTIZER) if s.grad_rounding in DRAWING else None
    return quantize(g, s.grad_rounding, s.grad_resolution, s.grad_spacing, half)


def add_weight_decay(s: Scalars, g: Tensor, param: Tensor) -> Tensor:
    if s.weight_decay == 0.0:
        return g
    return g + param * s.weight_decay


def quantize_update(s: Scalars, delta: Tensor, at: Coordinates) -> Tensor:
    if s.update_rounding == "off":
        return delta
    half = at.draw_halves(UPDATE_QUANTIZER) if s.update_rounding in DRAWING else None
    return quantize(delta, s.update_rounding, s.update_resolution, s.update_spacing, half)


def scaled_noise(s: Scalars, at: Coordinates, dtype: torch.dtype) -> Tensor:
    return noise_value(s.noise, at).to(dtype) * s.noise_scale


def move_param(s: Scalars, param: Tensor, delta: Tensor) -> Tensor:
    if s.decoupled_weight_decay != 0.0:
        param = param - param * s.decoupled_weight_decay
    return param + delta


@dataclass
class Element:
    """The flat values of one tensor during a step; the last three are what the metrics ask for besides."""

    param: Tensor
    grad: Tensor
    states: list[Tensor]
    delta: Tensor | None = None  # without the noise that is added to it
    noise: Tensor | None = None  # in the unit of the rule's noise site
    stored: Tensor | None = None  # param as rounded to storage


def update(rule: type[Plain], row: Row, at: Coordinates, noisy: bool, e: Element) -> None:
    """The new (unrounded) parameter and states of one flat tensor, left in e."""
    s = row.common
    g = unscale(s, e.grad)
    g = quantize_grad(s, g, at)
    g = add_weight_decay(s, g, e.param)
    rule.accumulate(row.rule, g, e.states)
    if noisy:
        e.noise = scaled_noise(s, at, g.dtype)
    if rule.site == "velocity" and e.noise is not None:
        e.states[0] = e.states[0] + e.noise
    delta = rule.displace(s.lr, row.rule, g, e.states)
    delta = quantize_update(s, delta, at)
    e.delta = delta
    if rule.site == "displacement" and e.noise is not None:
        delta = delta + e.noise
    rule.finish(row.rule, delta, e.states)
    e.param = move_param(s, e.param, delta)


def round_stored(value: Tensor, dtype: torch.dtype, at: Coordinates, purpose: int | None) -> Tensor:
    """value in its storage type: stochastic with the draw of a purpose, nearest without; types of 32 bits and more need none."""
    half = at.draw_halves(purpose) if purpose is not None and dtype.itemsize == 2 else None
    return round_to(value, dtype, half)


@dataclass(frozen=True)
class Part:
    """What a tensor brings along: its key, the place of its first element in the unsharded tensor, whether it takes noise."""

    key: int
    offset: int = 0
    noise: bool = True


def step_tensor(rule: type[Plain], row: Row, part: Part, param: Tensor, grad: Tensor, states: Sequence[Tensor]) -> Element | None:
    """One step of one tensor, in place; returns the values it went through (None for an empty tensor, which has none).

    param, grad and states are dense and lie in memory in the same order.
    """
    if param.numel() == 0:
        return None
    at = Coordinates(part.key, row.step, row.chain, part.offset, param.numel(), param.device)
    work = torch.float64 if param.dtype == torch.float64 else torch.float32
    s = row.common
    p, x = flatten(param), [flatten(state) for state in states]
    e = Element(p.to(work), flatten(grad).to(work), [state.to(work) for state in x])
    update(rule, row, at, part.noise and s.noise_scale > 0.0, e)
    e.stored = p
    if s.lr != 0.0:
        e.stored = round_stored(e.param, p.dtype, at, PARAM_ROUNDING if s.stochastic_param else None)
        p.copy_(e.stored)
    for k, (state, value) in enumerate(zip(x, e.states, strict=True)):
        state.copy_(round_stored(value, state.dtype, at, STATE_ROUNDING + k if s.stochastic_state else None))
    return e


def measure(rule: type[Plain], s: Scalars, old: Tensor, e: Element) -> dict[str, Tensor]:
    """Metrics of one tensor's step from `old`, its flat parameter before; each a 0-dim binary64 tensor on its device.

    grad_norm: of the unscaled gradient; noise_norm: of the noise as it moves the parameter in this step; update_norm: of the
    displacement without the noise that is added to it; unmoved: share of elements whose stored parameter did not change;
    zeroed: share of displacements that are 0; rounding_over_noise: variance of the parameter's rounding over that of the noise.
    """
    assert e.delta is not None and e.stored is not None
    noise = torch.zeros_like(e.delta) if e.noise is None else e.noise * (s.lr if rule.site == "velocity" else 1.0)
    noise_squares = sum_squares(noise)
    return {
        "grad_norm": sum_squares(unscale(s, e.grad)).sqrt(),
        "update_norm": sum_squares(e.delta).sqrt(),
        "noise_norm": noise_squares.sqrt(),
        "unmoved": (e.stored == old).to(torch.float64).mean(),
        "zeroed": (e.delta == 0).to(torch.float64).mean(),
        "rounding_over_noise": sum_squares(e.stored.to(e.param.dtype) - e.param) / noise_squares,
    }


# --- norm.h: clipping -------------------------------------------------------------------------------------------------


def total_norm(squares: Sequence[float]) -> float:
    """The norm of all gradients from their sums of squares, rounded once to binary32."""
    return round_once(math.sqrt(sum_fixed(torch.tensor(squares, dtype=torch.float64, device="cpu")).item()))


def clip_coefficient(norm: float, max_norm: float | None) -> float:
    """min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it; NaN for a NaN norm."""
    if max_norm is None:
        return 1.0
    coefficient = max_norm / (norm + 1e-6)
    return 1.0 if coefficient > 1.0 else coefficient
