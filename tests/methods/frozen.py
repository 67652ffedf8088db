"""Chains whose preconditioner P is known: second moments are loaded that make it, and it is frozen.

An optimizer takes one step, so that it has states, loads the ones chosen, and goes on from x = 0. The formulas of P here are in
binary64 and its own; the rows of a tensor have values of P over three decades, and curvatures so that K = lr P a is as wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qlangevin import LangevinAdadelta, LangevinAdagrad, LangevinAdam, LangevinAdamW, LangevinRMSprop

from .replicas import Array, Replicas

EPS, BETA2 = 1e-3, 0.99
PRECONDITIONERS = np.array([100.0, 10.0, 1.0, 0.1])
STIFF, SOFT = (0.5, 0.2, 0.1, 0.05), (0.05, 0.1, 0.2, 0.5)  # K = lr P a of the rows


def root_of(p: Tensor) -> Tensor:
    """The root of the second moment, P being 1 / (root + eps)."""
    return 1 / p - EPS


def adam_states(p: Tensor) -> dict[str, Tensor]:
    """Frozen at step 1, so that the second moment's correction stays 1 - beta2."""
    return {"exp_avg": torch.zeros_like(p), "exp_avg_sq": root_of(p) ** 2 * (1 - BETA2)}


def centred_states(p: Tensor) -> dict[str, Tensor]:
    """A mean of two deviations: the second moment is five times the variance."""
    return {"square_avg": 5 * root_of(p) ** 2, "grad_avg": 2 * root_of(p)}


def amsgrad_states(p: Tensor) -> dict[str, Tensor]:
    """The largest one counts, the present one does not."""
    states = adam_states(p)
    return {**states, "exp_avg_sq": states["exp_avg_sq"] / 7, "max_exp_avg_sq": states["exp_avg_sq"]}


def adadelta_states(p: Tensor) -> dict[str, Tensor]:
    """P = sqrt((acc_delta + eps) / (square_avg + eps)), with P in either of the two."""
    square = 1 / p
    return {"square_avg": square, "acc_delta": p * p * (square + EPS) - EPS}


@dataclass(frozen=True)
class Frozen:
    """An optimizer and the states that give it a chosen P."""

    optimizer: Any
    states: Callable[[Tensor], dict[str, Tensor]]
    options: dict[str, Any] = field(default_factory=dict)

    def start(self, kappa: tuple[float, ...], count: int, temperature: float, grad_noise: float = 0.0, **options: Any) -> Rows:
        """`count` replicas in each row; grad_noise times 1 / P is the noise of the gradients."""
        lr = options.pop("lr", 0.01)
        p = torch.from_numpy(PRECONDITIONERS)[:, None]
        curvature = torch.tensor(kappa, dtype=torch.float64)[:, None] / (lr * p)
        given = {"eps": EPS, "temperature": temperature, "seed": 12, **self.options, **options}
        noise: float | Tensor = (grad_noise / p).float() if grad_noise else 0.0
        start = torch.zeros(len(kappa), count)
        run = Replicas(lambda params: self.optimizer(params, lr, **given), start, curvature.float(), noise)
        fix(run, {name: value.float().expand(start.shape) for name, value in self.states(p).items()})
        return Rows(run, curvature.numpy()[:, 0], lr)


def fix(run: Replicas, states: dict[str, Tensor]) -> None:
    """Loads states after a first step, freezes what they make, and puts the parameter back to 0."""
    run.optimizer.step()
    saved = run.optimizer.state_dict()
    saved["state"][0] = {**saved["state"][0], **states}
    run.optimizer.load_state_dict(saved)
    run.optimizer.freeze_preconditioner()
    with torch.no_grad():
        run.param.zero_()


@dataclass(frozen=True)
class Rows:
    """A run and its rows' curvatures."""

    run: Replicas
    curvatures: Array
    lr: float


ADAM = {"betas": (0.9, BETA2)}
WITHOUT_MOMENTUM = {
    "RMSprop": Frozen(LangevinRMSprop, lambda p: {"square_avg": root_of(p) ** 2}),
    "RMSprop, centred": Frozen(LangevinRMSprop, centred_states, {"centered": True}),
    "Adagrad": Frozen(LangevinAdagrad, lambda p: {"sum": root_of(p) ** 2}),
    "Adadelta": Frozen(LangevinAdadelta, adadelta_states),
    "Adam": Frozen(LangevinAdam, adam_states, {**ADAM, "momentum_in_drift": False}),
    "Adam, amsgrad": Frozen(LangevinAdam, amsgrad_states, {**ADAM, "momentum_in_drift": False, "amsgrad": True}),
}
WITH_MOMENTUM = {
    "Adam": Frozen(LangevinAdam, adam_states, ADAM),
    "Adam, amsgrad": Frozen(LangevinAdam, amsgrad_states, {**ADAM, "amsgrad": True}),
}
HEAVY_BALLS = {
    "RMSprop": Frozen(LangevinRMSprop, lambda p: {"square_avg": root_of(p) ** 2, "momentum_buffer": torch.zeros_like(p)}),
    "RMSprop, centred": Frozen(
        LangevinRMSprop, lambda p: {**centred_states(p), "momentum_buffer": torch.zeros_like(p)}, {"centered": True}
    ),
}
ADAMW = Frozen(LangevinAdamW, adam_states, ADAM)
