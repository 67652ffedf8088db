"""torch.optim.RMSprop's other rules, centred and with momentum, in plain torch: the mirror of ``csrc/core/rmsprop_rules.h``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .reference_adaptive_rules import RMSprop, hold_unseen, root_of_inverse
from .reference_numbers import round_once


class RMSpropCentered(RMSprop):
    """RMSprop with P = 1 / (sqrt(square_avg - grad_avg^2) + eps), grad_avg = alpha grad_avg + (1 - alpha) g."""

    name = "rmsprop_centered"
    states = ("square_avg", "grad_avg")

    @staticmethod
    def variance(x: list[Tensor]) -> Tensor:
        """square_avg - grad_avg^2, and the second moment itself where rounding leaves less than 0."""
        difference = x[0] - x[1] * x[1]
        return torch.where(difference < 0.0, x[0], difference)

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        RMSprop.accumulate(s, g, x)
        if not s["frozen"]:
            x[1] = x[1] * s["decay"] + g * s["square_factor"]

    @staticmethod
    def precondition(s: Mapping[str, float], x: list[Tensor]) -> Tensor:
        v = RMSpropCentered.variance(x)
        return hold_unseen(s["frozen"], v, root_of_inverse(v, 1.0, s["eps"]))


class RMSpropMomentum(RMSprop):
    """velocity = momentum velocity + P g, delta = -lr velocity, P as RMSprop's."""

    name = "rmsprop_momentum"
    hypers = ("alpha", "eps", "frozen_at", "momentum")
    states: tuple[str, ...] = ("momentum_buffer", "square_avg")
    site = "velocity"
    second_moment = 1

    @staticmethod
    def noise_variance(h: Mapping[str, Any], step: int) -> float:
        return float(2.0 * (1.0 - h["momentum"]) * h["temperature"] / h["lr"])

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        s = RMSprop.prepare(h, step)
        return {
            "decay": s["decay"],
            "square_factor": s["square_factor"],
            "eps": s["eps"],
            "momentum": round_once(h["momentum"]),
            "displacement_factor": s["displacement_factor"],
            "frozen": s["frozen"],
        }

    @staticmethod
    def gather(s: Mapping[str, float], g: Tensor, r: Tensor, velocity: Tensor) -> Tensor:
        """The velocity with P g."""
        return velocity * s["momentum"] + g * (r * r)

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        moments = x[1:]
        RMSprop.accumulate(s, g, moments)
        x[1:] = moments
        x[0] = RMSpropMomentum.gather(s, g, RMSpropMomentum.precondition(s, x), x[0])

    @staticmethod
    def precondition(s: Mapping[str, float], x: list[Tensor]) -> Tensor:
        return RMSprop.precondition(s, x[1:])

    @staticmethod
    def displace(s: Mapping[str, float], g: Tensor, r: Tensor, x: list[Tensor]) -> Tensor:
        return x[0] * s["displacement_factor"]


class RMSpropCenteredMomentum(RMSpropMomentum):
    """The same with P as RMSpropCentered's."""

    name = "rmsprop_centered_momentum"
    states = ("momentum_buffer", "square_avg", "grad_avg")

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        moments = x[1:]
        RMSpropCentered.accumulate(s, g, moments)
        x[1:] = moments
        x[0] = RMSpropMomentum.gather(s, g, RMSpropCenteredMomentum.precondition(s, x), x[0])

    @staticmethod
    def precondition(s: Mapping[str, float], x: list[Tensor]) -> Tensor:
        return RMSpropCentered.precondition(s, x[1:])
