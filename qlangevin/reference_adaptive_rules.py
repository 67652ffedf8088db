"""The rules with a diagonal preconditioner P in plain torch: the mirror of ``csrc/core/adaptive_rules.h``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .reference_momentum_rules import Plain
from .reference_numbers import power, round_once
from .reference_root import inverse_root
from .scalar_values import LARGEST


def is_frozen(frozen_at: int, step: int) -> bool:
    """Whether P is fixed: after the step frozen_at of a tensor's own count; never for 0."""
    return frozen_at > 0 and step > frozen_at


def hold_unseen(frozen: float, moment: Tensor, root: Tensor) -> Tensor:
    """sqrt(P), and 0 where the second moment is 0 once P is fixed."""
    return torch.where(moment == 0.0, 0.0, root) if frozen else root


def root_of_inverse(moment: Tensor, factor: float, eps: float) -> Tensor:
    """sqrt(P) of P = 1 / (sqrt(moment) * factor + eps)."""
    return inverse_root(moment * inverse_root(moment) * factor + eps)


class RMSprop(Plain):
    """square_avg = alpha square_avg + (1 - alpha) g^2, P = 1 / (sqrt(square_avg) + eps), delta = -lr P g."""

    name = "rmsprop"
    hypers: tuple[str, ...] = ("alpha", "eps", "frozen_at")
    states: tuple[str, ...] = ("square_avg",)
    second_moment = 0

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {
            "decay": round_once(h["alpha"]),
            "square_factor": round_once(1.0 - h["alpha"]),
            "eps": round_once(h["eps"]),
            "displacement_factor": -round_once(h["lr"]),
            "frozen": float(is_frozen(h["frozen_at"], step)),
        }

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        if not s["frozen"]:
            x[0] = x[0] * s["decay"] + g * g * s["square_factor"]

    @staticmethod
    def precondition(s: Mapping[str, float], x: list[Tensor]) -> Tensor:
        return hold_unseen(s["frozen"], x[0], root_of_inverse(x[0], 1.0, s["eps"]))

    @staticmethod
    def displace(s: Mapping[str, float], g: Tensor, r: Tensor, x: list[Tensor]) -> Tensor:
        return g * (r * r) * s["displacement_factor"]


class Adagrad(RMSprop):
    """The same with the sum of g^2 in place of square_avg, and lr / (1 + (step - 1) lr_decay)."""

    name = "adagrad"
    hypers = ("lr_decay", "eps", "frozen_at")
    states = ("sum",)

    @staticmethod
    def decayed_lr(h: Mapping[str, Any], step: int) -> float:
        return float(h["lr"] / (1.0 + (step - 1) * h["lr_decay"]))

    @staticmethod
    def noise_variance(h: Mapping[str, Any], step: int) -> float:
        return float(2.0 * Adagrad.decayed_lr(h, step) * h["temperature"])

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {
            "decay": 1.0,
            "square_factor": 1.0,
            "eps": round_once(h["eps"]),
            "displacement_factor": -round_once(Adagrad.decayed_lr(h, step)),
            "frozen": float(is_frozen(h["frozen_at"], step)),
        }


class Adam(Plain):
    """delta = -lr m P / (1 - beta1^step), P = 1 / (sqrt(v / (1 - beta2^step)) + eps), m and v averages of g and g^2."""

    name = "adam"
    hypers = ("beta1", "beta2", "eps", "epsilon_hat", "momentum_in_drift", "frozen_at")
    states: tuple[str, ...] = ("exp_avg", "exp_avg_sq")
    second_moment = 1

    @staticmethod
    def square_correction(h: Mapping[str, Any], step: int) -> float:
        return 1.0 - power(h["beta2"], int(h["frozen_at"]) if is_frozen(h["frozen_at"], step) else step)

    @staticmethod
    def correction(h: Mapping[str, Any], step: int) -> float:
        root = math.sqrt(Adam.square_correction(h, step)) if h["epsilon_hat"] else 1.0
        return root / (1.0 - power(h["beta1"], step))

    @staticmethod
    def noise_variance(h: Mapping[str, Any], step: int) -> float:
        return float(2.0 * h["lr"] * h["temperature"] * Adam.correction(h, step))

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        return {
            "beta1": round_once(h["beta1"]),
            "grad_factor": round_once(1.0 - h["beta1"]),
            "beta2": round_once(h["beta2"]),
            "square_factor": round_once(1.0 - h["beta2"]),
            "root_factor": 1.0 if h["epsilon_hat"] else round_once(1.0 / math.sqrt(Adam.square_correction(h, step))),
            "eps": round_once(h["eps"]),
            "displacement_factor": -round_once(h["lr"] * Adam.correction(h, step)),
            "momentum_in_drift": float(h["momentum_in_drift"]),
            "frozen": float(is_frozen(h["frozen_at"], step)),
        }

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        x[0] = x[0] * s["beta1"] + g * s["grad_factor"]
        if not s["frozen"]:
            x[1] = x[1] * s["beta2"] + g * g * s["square_factor"]

    @staticmethod
    def precondition(s: Mapping[str, float], x: list[Tensor]) -> Tensor:
        return hold_unseen(s["frozen"], x[1], root_of_inverse(x[1], s["root_factor"], s["eps"]))

    @staticmethod
    def displace(s: Mapping[str, float], g: Tensor, r: Tensor, x: list[Tensor]) -> Tensor:
        return (x[0] if s["momentum_in_drift"] else g) * (r * r) * s["displacement_factor"]


class AdamAmsgrad(Adam):
    """The same with the largest v so far in the place of v."""

    name = "adam_amsgrad"
    states = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    second_moment = 2

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        Adam.accumulate(s, g, x)
        if not s["frozen"]:
            x[2] = torch.where(x[2] >= x[1], x[2], x[1])

    @staticmethod
    def precondition(s: Mapping[str, float], x: list[Tensor]) -> Tensor:
        return hold_unseen(s["frozen"], x[2], root_of_inverse(x[2], s["root_factor"], s["eps"]))


class Adadelta(Plain):
    """delta = -lr P g, P = sqrt((acc_delta + eps) / (square_avg + eps)), acc_delta averages squares of the final delta / lr."""

    name = "adadelta"
    hypers = ("rho", "eps", "frozen_at")
    states = ("square_avg", "acc_delta")
    second_moment = 0

    @staticmethod
    def prepare(h: Mapping[str, Any], step: int) -> dict[str, float]:
        inverse = 1.0 / h["lr"] if h["lr"] > 0.0 else 0.0
        return {
            "rho": round_once(h["rho"]),
            "square_factor": round_once(1.0 - h["rho"]),
            "eps": round_once(h["eps"]),
            "displacement_factor": -round_once(h["lr"]),
            "inverse_lr": round_once(min(inverse, LARGEST)),
            "frozen": float(is_frozen(h["frozen_at"], step)),
        }

    @staticmethod
    def accumulate(s: Mapping[str, float], g: Tensor, x: list[Tensor]) -> None:
        if not s["frozen"]:
            x[0] = x[0] * s["rho"] + g * g * s["square_factor"]

    @staticmethod
    def precondition(s: Mapping[str, float], x: list[Tensor]) -> Tensor:
        numerator = x[1] + s["eps"]
        p = numerator * inverse_root(numerator * (x[0] + s["eps"]))
        return hold_unseen(s["frozen"], x[0], p * inverse_root(p))

    @staticmethod
    def displace(s: Mapping[str, float], g: Tensor, r: Tensor, x: list[Tensor]) -> Tensor:
        return g * (r * r) * s["displacement_factor"]

    @staticmethod
    def finish(s: Mapping[str, float], delta: Tensor, x: list[Tensor]) -> None:
        u = delta * s["inverse_lr"]
        if not s["frozen"]:
            x[1] = x[1] * s["rho"] + u * u * s["square_factor"]
