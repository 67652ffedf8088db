"""The rules without a preconditioner in plain torch: the mirror of ``csrc/core/momentum_rules.h``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .reference_numbers import round_once


class Plain:
    """delta = -lr g."""

    name = "plain"
    hypers: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    site = "displacement"
    second_moment = -1

    @staticmethod
    def noise_variance(h: Mapping[str, Any], step: int) -> float:
        return float(2.0 * h["lr"] * h["temperature"])

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {"displacement_factor": -round_once(h["lr"])}

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        pass

    @staticmethod
    def precondition(s: Mapping[str, float], x: list[Tensor]) -> Tensor:
        return torch.ones(())

    @staticmethod
    def displace(s: Mapping[str, float], g: Tensor, r: Tensor, x: list[Tensor]) -> Tensor:
        return g * s["displacement_factor"]

    @staticmethod
    def finish(s: Mapping[str, float], delta: Tensor, x: list[Tensor]) -> None:
        pass


class Momentum(Plain):
    """velocity = momentum velocity + (1 - dampening) g, delta = -lr velocity, as torch.optim.SGD has it."""

    name = "momentum"
    hypers: tuple[str, ...] = ("momentum", "dampening", "nesterov")
    states = ("momentum_buffer",)
    site = "velocity"

    @staticmethod
    def noise_variance(h: Mapping[str, Any], step: int) -> float:
        return float(2.0 * (1.0 - h["momentum"]) * h["temperature"] / h["lr"])

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {
            "momentum": round_once(h["momentum"]),
            "grad_factor": 1.0 if step == 1 else round_once(1.0 - h["dampening"]),
            "displacement_factor": -round_once(h["lr"]),
            "nesterov": float(h["nesterov"]),
        }

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        x[0] = x[0] * s["momentum"] + g * s["grad_factor"]

    @staticmethod
    def displace(s: Mapping[str, float], g: Tensor, r: Tensor, x: list[Tensor]) -> Tensor:
        if s["nesterov"]:
            return (g + x[0] * s["momentum"]) * s["displacement_factor"]
        return x[0] * s["displacement_factor"]


class CoolMomentum(Momentum):
    """velocity = momentum velocity + lr (1 + momentum) / 2 g, delta = -velocity (Borysenko and Byshkin 2021)."""

    name = "cool_momentum"
    hypers = ("momentum",)

    @staticmethod
    def noise_variance(h: Mapping[str, Any], step: int) -> float:
        return float(h["lr"] * h["temperature"] * (1.0 - h["momentum"] * h["momentum"]))

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {
            "momentum": round_once(h["momentum"]),
            "grad_factor": round_once(h["lr"] * (1.0 + h["momentum"]) / 2.0),
            "displacement_factor": -1.0,
            "nesterov": 0.0,
        }


class SGHMC(Momentum):
    """velocity = (1 - friction) velocity + lr g, delta = -velocity (Chen, Fox, Guestrin 2014)."""

    name = "sghmc"
    hypers = ("friction", "noise_estimate")

    @staticmethod
    def noise_variance(h: Mapping[str, Any], step: int) -> float:
        return float(2.0 * (h["friction"] - h["noise_estimate"]) * h["lr"] * h["temperature"])

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {
            "momentum": round_once(1.0 - h["friction"]),
            "grad_factor": round_once(h["lr"]),
            "displacement_factor": -1.0,
            "nesterov": 0.0,
        }
