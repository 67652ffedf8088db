"""The step in plain torch, one operation per line: the specification in executable form, and the oracle of every test.

Names and order are those of ``csrc/core``; the bits are the same on every backend. Runs on any device. Everything is
binary32 (binary64 for binary64 parameters, which have no other backend). Fused torch operations (``alpha=``, ``lerp``,
``addcmul``) and torch's square root are avoided because they round differently. Random bits are int64 tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

GROUP = 8
MASK32 = 0xFFFFFFFF
NOISE, PARAM_ROUNDING, GRAD_QUANTIZER, UPDATE_QUANTIZER, STATE_ROUNDING = 0, 2, 3, 4, 8  # the purposes of a draw


# --- philox.h, draw.h -------------------------------------------------------------------------------------------------


def philox(c: list[Tensor], k0: int, k1: int, rounds: int = 10) -> list[Tensor]:
    """Philox4x32: four int64 tensors of 32-bit counter words to four of random words (Salmon et al., SC 2011)."""
    for _ in range(rounds):
        p0 = c[0] * 0xD2511F53  # wraps modulo 2^64: both halves of the product are right after masking
        p1 = c[2] * 0xCD9E8D57
        c0 = ((p1 >> 32) & MASK32) ^ c[1] ^ k0
        c2 = ((p0 >> 32) & MASK32) ^ c[3] ^ k1
        c = [c0, p1 & MASK32, c2, p0 & MASK32]
        k0 = (k0 + 0x9E3779B9) & MASK32
        k1 = (k1 + 0xBB67AE85) & MASK32
    return c


@dataclass(frozen=True)
class Coordinates:
    """Where a tensor's draws come from: its 64-bit key, step, chain, and its elements' place in the unsharded tensor."""

    key: int
    step: int
    chain: int
    offset: int
    size: int
    device: torch.device

    def draw_quads(self, purpose: int) -> Tensor:
        """The four random words of each group of 8 elements that this part touches, as (groups, 4)."""
        first = self.offset // GROUP
        last = (self.offset + self.size + GROUP - 1) // GROUP
        group = torch.arange(first, last, dtype=torch.int64, device=self.device)
        c0 = group & MASK32
        c1 = (group >> 32) | (purpose << 16)
        c2 = torch.full_like(group, self.step & MASK32)
        c3 = torch.full_like(group, self.chain & MASK32)
        return torch.stack(philox([c0, c1, c2, c3], self.key & MASK32, self.key >> 32), dim=1)

    def draw_words(self, purpose: int = NOISE) -> Tensor:
        """32 bits for each element: purposes 0 and 1 serve elements 0 to 3 and 4 to 7 of a group."""
        quads = torch.cat([self.draw_quads(purpose), self.draw_quads(purpose + 1)], dim=1)
        return self._trim(quads)

    def draw_halves(self, purpose: int) -> Tensor:
        """16 bits for each element: word i of a group holds elements 2i (low half) and 2i + 1 (high half)."""
        quads = self.draw_quads(purpose)
        halves = torch.stack([quads & 0xFFFF, quads >> 16], dim=2)
        return self._trim(halves)

    def _trim(self, groups: Tensor) -> Tensor:
        start = self.offset % GROUP
        return groups.reshape(-1)[start : start + self.size]


# --- normal.h ---------------------------------------------------------------------------------------------------------

BYTE_WEIGHTS = (255, 233, 229, 197)
BYTE_SUM_MEAN = 116535
BYTE_SUM_INVERSE_SD = float.fromhex("0x1.eebed6p-16")
NORMAL_COEFFICIENTS = tuple(
    float.fromhex(c)
    for c in (
        "0x1.ec6c56p-1",
        "0x1.5f7fb6p-8",
        "0x1.c248fep-8",
        "-0x1.637c78p-9",
        "0x1.1d6878p-11",
        "-0x1.a3d7dap-15",
        "0x1.ed2e0cp-20",
    )
)
UNIFORM_SPACING = float.fromhex("0x1.bb67aep-15")


def gaussian(word: Tensor) -> Tensor:
    """The byte-sum normal: one 32-bit word to one value of a law 8.1e-6 (Kolmogorov distance) from the normal one."""
    byte_sum = sum(weight * ((word >> (8 * i)) & 0xFF) for i, weight in enumerate(BYTE_WEIGHTS))
    centred = (byte_sum - BYTE_SUM_MEAN).to(torch.float32)
    x = centred * BYTE_SUM_INVERSE_SD
    u = x * x
    p = u * NORMAL_COEFFICIENTS[6] + NORMAL_COEFFICIENTS[5]
    for coefficient in reversed(NORMAL_COEFFICIENTS[:5]):
        p = p * u + coefficient
    return x * p


def uniform(half: Tensor) -> Tensor:
    """The 2^16 midpoints of [-sqrt(3), sqrt(3)], scaled to variance 1."""
    centred = half.to(torch.float32) - 32767.5
    return centred * UNIFORM_SPACING


def rademacher(half: Tensor) -> Tensor:
    """+1 or -1: the top bit of 16."""
    return 1.0 - 2.0 * (half >> 15).to(torch.float32)


def noise_value(kind: str, coordinates: Coordinates) -> Tensor:
    """Noise of mean 0 and variance 1 for each element, as a flat binary32 tensor."""
    if kind == "gaussian":
        return gaussian(coordinates.draw_words())
    half = coordinates.draw_halves(NOISE)
    return uniform(half) if kind == "uniform" else rademacher(half)


# --- quantize.h -------------------------------------------------------------------------------------------------------


def floor_of(y: Tensor) -> Tensor:
    """floor(y) for |y| < 2^22 (2^51 in binary64), by adding and subtracting 1.5 times the first number without fraction bits."""
    magic = 12582912.0 if y.dtype == torch.float32 else 1.5 * 2.0**52
    t = (y + magic) - magic
    return torch.where(t > y, t - 1.0, t)


def unit_of(half: Tensor, dtype: torch.dtype) -> Tensor:
    """(half + 1/2) / 2^16: uniform in (0, 1) and never on the edge."""
    return (half.to(dtype) + 0.5) * 2.0**-16


def quantize(x: Tensor, rounding: str, resolution: float, spacing: float, half: Tensor | None) -> Tensor:
    """x to the grid of spacing 1 / resolution; rounding is nearest, stochastic, floor or dither (numerics.md section 5)."""
    y = x * resolution
    if rounding == "dither":
        assert half is not None
        u = unit_of(half, x.dtype) - 0.5
        q = floor_of(y + u + 0.5) - u
    else:
        q = floor_of(y)
        above = y - q
        if rounding == "nearest":
            q = torch.where(above >= 0.5, q + 1.0, q)
        if rounding == "stochastic":
            assert half is not None
            q = torch.where(above > unit_of(half, x.dtype), q + 1.0, q)
    return torch.where(y.abs() < 4194304.0, q * spacing, x)


# --- round.h ----------------------------------------------------------------------------------------------------------


def round_to(value: Tensor, dtype: torch.dtype, half: Tensor | None) -> Tensor:
    """value to a storage type: to nearest even without random bits, stochastically with 16 (numerics.md section 4)."""
    if half is None or dtype in (torch.float32, torch.float64):
        return value.to(dtype)
    bits = value.view(torch.int32).to(torch.int64)
    magnitude = bits & 0x7FFFFFFF
    if dtype == torch.bfloat16:
        finite = torch.clamp(magnitude + half, max=0x7F7FFFFF) >> 16
    else:
        normal = torch.clamp((magnitude + (half >> 3) - 0x38000000) >> 13, max=0x7BFF)
        scaled = value.abs() * 2.0**24
        subnormal = quantize(scaled, "stochastic", 1.0, 1.0, half)
        integer = torch.where(magnitude < 0x38800000, subnormal, 0.0).to(torch.int64)
        finite = torch.where(magnitude < 0x38800000, integer, normal)
    pattern = (finite | ((bits >> 16) & 0x8000)).to(torch.int16)
    return torch.where(torch.isfinite(value), pattern.view(dtype), value.to(dtype))


# --- scalars.h --------------------------------------------------------------------------------------------------------


def round_once(value: float) -> float:
    """A binary64 number rounded to binary32."""
    return torch.tensor(value, dtype=torch.float64).to(torch.float32).item()


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


def quantize_grad(s: Scalars, g: Tensor, half: Callable[[int], Tensor]) -> Tensor:
    if s.grad_rounding == "off":
        return g
    return quantize(g, s.grad_rounding, s.grad_resolution, s.grad_spacing, half(GRAD_QUANTIZER))


def add_weight_decay(s: Scalars, g: Tensor, param: Tensor) -> Tensor:
    if s.weight_decay == 0.0:
        return g
    return g + param * s.weight_decay


def quantize_update(s: Scalars, delta: Tensor, half: Callable[[int], Tensor]) -> Tensor:
    if s.update_rounding == "off":
        return delta
    return quantize(delta, s.update_rounding, s.update_resolution, s.update_spacing, half(UPDATE_QUANTIZER))


def add_noise(s: Scalars, value: Tensor, coordinates: Coordinates) -> Tensor:
    return value + noise_value(s.noise, coordinates).to(value.dtype) * s.noise_scale


def move_param(s: Scalars, param: Tensor, delta: Tensor) -> Tensor:
    if s.decoupled_weight_decay != 0.0:
        param = param - param * s.decoupled_weight_decay
    return param + delta


def update(
    rule: type[Plain], row: Row, at: Coordinates, param: Tensor, grad: Tensor, states: Sequence[Tensor], noise: bool
) -> tuple[Tensor, list[Tensor]]:
    """The new (unrounded) parameter and states of one flat tensor."""
    s = row.common
    x = list(states)
    noisy = noise and s.noise_scale > 0.0
    g = unscale(s, grad)
    g = quantize_grad(s, g, at.draw_halves)
    g = add_weight_decay(s, g, param)
    rule.accumulate(row.rule, g, x)
    if rule.site == "velocity" and noisy:
        x[0] = add_noise(s, x[0], at)
    delta = rule.displace(s.lr, row.rule, g, x)
    delta = quantize_update(s, delta, at.draw_halves)
    if rule.site == "displacement" and noisy:
        delta = add_noise(s, delta, at)
    rule.finish(row.rule, delta, x)
    return move_param(s, param, delta), x


def flatten(tensor: Tensor) -> Tensor:
    """A flat view of a dense tensor in the order of its memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def step_tensor(
    rule: type[Plain], row: Row, param: Tensor, grad: Tensor, states: Sequence[Tensor], key: int, offset: int, noise: bool
) -> None:
    """One step of one tensor, in place. param, grad and states are dense with equal strides; empty tensors are left alone."""
    if param.numel() == 0:
        return
    at = Coordinates(key, row.step, row.chain, offset, param.numel(), param.device)
    work = torch.float64 if param.dtype == torch.float64 else torch.float32
    s = row.common
    p, g = flatten(param), flatten(grad)
    x = [flatten(state) for state in states]
    new_param, new_states = update(rule, row, at, p.to(work), g.to(work), [state.to(work) for state in x], noise)
    if s.lr != 0.0:
        half = at.draw_halves(PARAM_ROUNDING) if s.stochastic_param else None
        p.copy_(round_to(new_param, p.dtype, half))
    for k, (state, value) in enumerate(zip(x, new_states, strict=True)):
        half = at.draw_halves(STATE_ROUNDING + k) if s.stochastic_state else None
        state.copy_(round_to(value, state.dtype, half))
