"""The rules with a preconditioner in binary64 numpy, written from their formulas: what a step displaces without noise, and P."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .replicas import Array

EPS = 1e-3


@dataclass
class Rule:
    """One chain's rule. `step` gives (displacement without noise over -lr, P) of a gradient; `see` tells it the final one."""

    lr: float
    taken: int = 0
    averages: dict[str, Array] = field(default_factory=dict)

    def average(self, name: str, value: Array, factor: float, weight: float) -> Array:
        """factor old + weight value, from 0."""
        self.averages[name] = factor * self.averages.get(name, np.zeros(1)) + weight * value
        return self.averages[name]

    def step(self, g: Array) -> tuple[Array, Array]:
        """Counts it."""
        self.taken += 1
        return g, np.ones(1)

    def see(self, displacement: Array) -> None:
        """Most do not care."""


@dataclass
class RMSprop(Rule):
    """With momentum the noise is the velocity's, of which a step sees 1 - momentum times the other's variance."""

    alpha: float = 0.9
    centered: bool = False
    momentum: float = 0.0

    def step(self, g: Array) -> tuple[Array, Array]:
        v = self.average("v", g * g, self.alpha, 1 - self.alpha)
        if self.centered:
            v = v - self.average("m", g, self.alpha, 1 - self.alpha) ** 2
        p = 1 / (np.sqrt(v) + EPS)
        return self.momentum * self.averages.get("velocity", np.zeros(1)) + p * g, p * (1 - self.momentum)

    def see(self, displacement: Array) -> None:
        self.averages["velocity"] = -displacement / self.lr


@dataclass
class Adagrad(Rule):
    """The decayed lr is put into P."""

    decay: float = 0.0

    def step(self, g: Array) -> tuple[Array, Array]:
        self.taken += 1
        p = 1 / (np.sqrt(self.average("s", g * g, 1.0, 1.0)) + EPS) / (1 + (self.taken - 1) * self.decay)
        return p * g, p


@dataclass
class Adam(Rule):
    betas: tuple[float, float] = (0.9, 0.99)
    momentum_in_drift: bool = True
    amsgrad: bool = False

    def step(self, g: Array) -> tuple[Array, Array]:
        self.taken += 1
        first, second = self.betas
        m = self.average("m", g, first, 1 - first)
        v = self.average("v", g * g, second, 1 - second)
        if self.amsgrad:
            v = self.averages["largest"] = np.maximum(v, self.averages.get("largest", np.zeros(1)))
        p = 1 / (1 - first**self.taken) / (np.sqrt(v / (1 - second**self.taken)) + EPS)
        return p * (m if self.momentum_in_drift else g), p


@dataclass
class Adadelta(Rule):
    rho: float = 0.9

    def step(self, g: Array) -> tuple[Array, Array]:
        p = np.sqrt((self.averages.get("u", np.zeros(1)) + EPS) / (self.average("v", g * g, self.rho, 1 - self.rho) + EPS))
        return p * g, p

    def see(self, displacement: Array) -> None:
        self.average("u", (displacement / self.lr) ** 2, self.rho, 1 - self.rho)


MakeRule = Callable[[float], Rule]
