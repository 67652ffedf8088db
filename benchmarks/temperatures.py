"""Measured over wanted temperature of every rule on a x^2 / 2, beside the exact law of the discrete chain.

100,000 replicas, one look: a standard error of 0.45 %; z is how many of those they differ by. Preconditioners are frozen, but not
in the second table: 20,000 replicas, 1 %. Usage: python -m benchmarks.temperatures
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import (
    SGHMC,
    SGLD,
    CoolMomentum,
    LangevinAdadelta,
    LangevinAdagrad,
    LangevinAdam,
    LangevinAdamW,
    LangevinRMSprop,
    QuantizedSGD,
)
from qlangevin.quantizers import CalibratedResolution, Grid

REPLICAS, FEWER_REPLICAS, CURVATURE, TEMPERATURE = 100_000, 20_000, 2.0, 0.3
Law = Callable[[float, float], float]


def run(optimizer: Any, x: Parameter, steps: int) -> float:
    """a Var x / T after as many steps on the potential."""
    x.grad = torch.zeros_like(x) if x.grad is None else x.grad
    for _ in range(steps):
        torch.mul(x.detach(), CURVATURE, out=x.grad)
        optimizer.step()
    return float((x.detach().double() ** 2).mean()) * CURVATURE / TEMPERATURE


def burn_in(k: float, momentum: float) -> int:
    """Steps after which the start is forgotten."""
    return int(10 / k + 20 / (1 - momentum))


def measure(optimizer_class: Any, k: float, momentum: float, **options: Any) -> float:
    """Of a rule without a preconditioner, at k = lr a."""
    x = Parameter(torch.zeros(REPLICAS))
    given = {"friction": 1 - momentum} if optimizer_class is SGHMC else {"momentum": momentum}
    optimizer = optimizer_class([x], k / CURVATURE, temperature=TEMPERATURE, seed=3, **given, **options)
    return run(optimizer, x, int(10 * (1 - momentum) / k + 20 / (1 - momentum)))


def measure_frozen(optimizer_class: Any, k: float, momentum: float, **options: Any) -> float:
    """Of a preconditioned rule that was shown one gradient: its P is fixed then, whatever it is, and lr such that k = lr P a."""
    heavy = momentum > 0 and issubclass(optimizer_class, LangevinRMSprop)
    x = Parameter(torch.zeros(REPLICAS))
    x.grad = torch.full_like(x, 5.0)
    adam = issubclass(optimizer_class, LangevinAdam)
    given = {**({"betas": (momentum, 0.999)} if adam else {"momentum": momentum} if heavy else {}), **options}
    optimizer = optimizer_class([x], 1.0, seed=3, **given)
    optimizer.step()
    optimizer.freeze_preconditioner()
    optimizer.param_groups[0].update(lr=k / (CURVATURE * preconditioner(optimizer, x)), temperature=TEMPERATURE)
    with torch.no_grad():
        x.zero_()
        for name in {"exp_avg", "momentum_buffer"} & set(optimizer.state[x]):
            optimizer.state[x][name].zero_()
    if optimizer_class is LangevinAdamW:  # a decay of k / 10 a step
        optimizer.param_groups[0]["weight_decay"] = k / 10 / optimizer.param_groups[0]["lr"]
    return run(optimizer, x, burn_in(k, momentum))


def preconditioner(optimizer: Any, x: Parameter) -> float:
    """P of the first element after a first step; Adam's without the first moment's correction, which is 1 soon."""
    state, group = optimizer.state[x], optimizer.param_groups[0]
    eps = group["eps"]
    if isinstance(optimizer, LangevinAdadelta):
        return math.sqrt((float(state["acc_delta"][0]) + eps) / (float(state["square_avg"][0]) + eps))
    if isinstance(optimizer, LangevinAdam):
        return 1 / (math.sqrt(float(state["exp_avg_sq"][0]) / (1 - group["betas"][1])) + eps)
    mean = float(state["grad_avg"][0]) if "grad_avg" in state else 0.0
    square = float(state["sum" if isinstance(optimizer, LangevinAdagrad) else "square_avg"][0])
    return 1 / (math.sqrt(square - mean * mean) + eps)


@dataclass(frozen=True)
class Adapting:
    """A rule whose P goes on adapting: its average's factor, and k = lr P a at the P of the stationary second moment."""

    optimizer: Any
    k: float
    alpha: float
    options: dict[str, Any] = field(default_factory=dict)


def measure_adapting(case: Adapting, replicas: int) -> float:
    """From x = 0, and from the stationary second moment a T: another start may throw the chain far away."""
    moment = CURVATURE * TEMPERATURE
    x = Parameter(torch.zeros(replicas))
    x.grad = torch.zeros_like(x)
    lr = case.k * math.sqrt(moment) / CURVATURE
    optimizer = case.optimizer([x], lr, temperature=TEMPERATURE, seed=3, **case.options)
    optimizer.step()
    saved: dict[str, Any] = optimizer.state_dict()
    moments: dict[str, Tensor] = {
        name: torch.full_like(x, moment) for name in ("square_avg", "exp_avg_sq") if name in saved["state"][0]
    }
    saved["state"][0] = {**saved["state"][0], "step": torch.tensor(100_000), **moments}  # bias corrections of 1
    optimizer.load_state_dict(saved)
    return run(optimizer, x, int(5 / case.k + 3 / (1 - case.alpha)))


def sgld(k: float, m: float) -> float:
    """Noise in the velocity: 1 / (1 - k / (2 (1 + m))). SGHMC's too, m being 1 - friction."""
    return 1 / (1 - k / (2 * (1 + m)))


def cooled(k: float, m: float) -> float:
    """CoolMomentum's: 1 / (1 - k / 4)."""
    return 1 / (1 - k / 4)


def gridded(k: float, m: float) -> float:
    """Errors on the displacement, which the velocity does not see: (1 + 2 m k / ((1 + m) (1 - m)^2)) / (1 - k / (2 (1 + m)))."""
    return (1 + 2 * m * k / ((1 + m) * (1 - m) ** 2)) / (1 - k / (2 * (1 + m)))


def adam(k: float, m: float) -> float:
    """The same for an average of gradients: (1 + 2 m k / (1 - m^2)) / (1 - k (1 - m) / (2 (1 + m)))."""
    return gridded(k * (1 - m), m)


def adamw(k: float, m: float) -> float:
    """With a decoupled decay of c = k / 10 a step: that of x'' = (1 + m - c - k (1 - m)) x' - m (1 - c) x + e'' - m e'."""
    c = k / 10
    first, second = 1 + m - c - k * (1 - m), m * (1 - c)
    return 2 * k * ((1 + m * m) * (1 + second) - 2 * m * first) / ((1 - second) * ((1 + second) ** 2 - first**2))


def calibrated(rounding: str) -> dict[str, Any]:
    """A grid as the thermostat."""
    return {"compensation": None, "update_quantizer": Grid(CalibratedResolution(), rounding)}


def print_row(name: str, momentum: float | str, k: float, found: float, exact: float | None) -> None:
    """One line; z in standard errors."""
    law = "none" if exact is None else f"{exact:.3f}"
    z = "" if exact is None else f"{(found / exact - 1) * math.sqrt(REPLICAS / 2):+.1f}"
    print(f"| {name} | {momentum} | {k} | {found:.3f} | {law} | {z} |", flush=True)


def main() -> None:
    """Prints the tables."""
    plain, heavy, averaged = ((0.0, 0.05), (0.0, 0.5)), ((0.9, 0.05), (0.9, 0.001)), ((0.9, 0.01), (0.9, 0.1))
    rows: list[tuple[str, Any, Any, Law, Any, dict[str, Any]]] = [
        ("SGLD", measure, SGLD, sgld, plain + heavy, {}),
        ("SGHMC", measure, SGHMC, sgld, heavy, {}),
        ("CoolMomentum", measure, CoolMomentum, cooled, plain + heavy, {}),
        ("QuantizedSGD, dither", measure, QuantizedSGD, gridded, plain + heavy, calibrated("dither")),
        ("QuantizedSGD, noise", measure, QuantizedSGD, sgld, heavy, calibrated("noise")),
        ("LangevinRMSprop", measure_frozen, LangevinRMSprop, sgld, plain, {}),
        ("LangevinRMSprop, centred", measure_frozen, LangevinRMSprop, sgld, plain + heavy, {"centered": True}),
        ("LangevinRMSprop", measure_frozen, LangevinRMSprop, sgld, heavy, {}),
        ("LangevinAdagrad", measure_frozen, LangevinAdagrad, sgld, plain, {}),
        ("LangevinAdadelta", measure_frozen, LangevinAdadelta, sgld, plain, {"rho": 0.9}),
        ("LangevinAdam", measure_frozen, LangevinAdam, adam, averaged, {}),
        ("LangevinAdamW, decay of k / 10", measure_frozen, LangevinAdamW, adamw, averaged, {"weight_decay": 0.0}),
    ]
    print("| optimizer | momentum | k | measured | exact | z |\n|---|---|---|---|---|---|")
    for name, measured, optimizer_class, law, settings, options in rows:
        for momentum, k in settings:
            print_row(name, momentum, k, measured(optimizer_class, k, momentum, **options), law(k, momentum))
    for k in (0.05, 0.5):
        found = measure_frozen(LangevinAdam, k, 0.9, momentum_in_drift=False)
        print_row("LangevinAdam, momentum_in_drift=False", "(0.9)", k, found, sgld(k, 0.0))
    print("\n| LangevinRMSprop, adapting: alpha | k | measured | frozen |\n|---|---|---|---|")
    for alpha in (0.9, 0.99, 0.999):
        for k in (0.1, 0.01, 0.001):
            found = measure_adapting(Adapting(LangevinRMSprop, k, alpha, {"alpha": alpha}), FEWER_REPLICAS)
            print(f"| {alpha} | {k} | {found:.2f} | {sgld(k, 0.0):.3f} |", flush=True)


if __name__ == "__main__":
    main()
