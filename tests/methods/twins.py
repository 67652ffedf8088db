"""How far one step of an optimizer may be from its twin's in torch.optim: binary64 bounds made of the magnitudes that are added.

Both begin with the same parameters and states. The constants count roundings, as tests/tolerances.py tells. What a quantity
inherits from another that is rounded, as a moment does from a gradient with decay, is carried on to first order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tests.tolerances import bound

TINY = 1e-300  # divides where a moment is 0, and so is its error


@dataclass(frozen=True)
class Before:
    """Where both begin, in binary64: the parameter, its gradient, the twin's states in our unit, the coming step from 1 on."""

    param: Tensor
    grad: Tensor
    states: Mapping[str, Tensor]
    step: int


Limits = dict[str, Tensor]  # of "displacement" and of states by name
Options = Mapping[str, Any]  # the twin's, of which those that are its defaults may be missing


def total_grad(o: Options, at: Before) -> tuple[Tensor, Tensor]:
    """The gradient with coupled decay, and how far two of them may differ."""
    decay = 0.0 if o.get("decoupled") else o.get("weight_decay", 0.0)
    grad = -at.grad if o.get("maximize") else at.grad
    if not decay:
        return grad, grad * 0.0
    return grad + decay * at.param, bound("twin_grad") * (grad.abs() + decay * at.param.abs())


def average_square(keep: float, old: Tensor, g: Tensor, dg: Tensor) -> tuple[Tensor, Tensor]:
    """An average of squares and how far two of them may differ."""
    new = keep * old + (1.0 - keep) * g * g
    return new, bound("twin_second_moment") * new + (1.0 - keep) * 2.0 * g.abs() * dg


def average(keep: float, old: Tensor, g: Tensor, dg: Tensor) -> tuple[Tensor, Tensor]:
    """An average of gradients and how far two of them may differ, one of them torch's lerp."""
    terms = old.abs() + (1.0 - keep) * g.abs()
    return keep * old + (1.0 - keep) * g, bound("twin_first_moment") * terms + (1.0 - keep) * dg


def adam_limits(o: Options, at: Before) -> Limits:
    """Of torch.optim.Adam and AdamW."""
    (beta1, beta2), lr = o.get("betas", (0.9, 0.999)), o["lr"]
    g, dg = total_grad(o, at)
    m, dm = average(beta1, at.states["exp_avg"], g, dg)
    v, dv = average_square(beta2, at.states["exp_avg_sq"], g, dg)
    limits = {"exp_avg": dm, "exp_avg_sq": dv}
    if o.get("amsgrad"):
        limits["max_exp_avg_sq"] = dv
        v = at.states["max_exp_avg_sq"].maximum(v)
    root = (v / (1.0 - beta2**at.step)).sqrt()
    p = 1.0 / ((root + o["eps"]) * (1.0 - beta1**at.step))
    inherited = 0.5 * dv / v.clamp(min=TINY) * root / (root + o["eps"])
    return {**limits, "displacement": lr * p * ((bound("adam_twin_update") + inherited) * m.abs() + dm)}


def rmsprop_limits(o: Options, at: Before) -> Limits:
    """Of torch.optim.RMSprop."""
    g, dg = total_grad(o, at)
    v, dv = average_square(o["alpha"], at.states["square_avg"], g, dg)
    limits = {"square_avg": dv}
    if o.get("centered"):
        m, dm = average(o["alpha"], at.states["grad_avg"], g, dg)
        limits["grad_avg"] = dm
        v, dv = v - m * m, dv + 2.0 * m.abs() * dm + bound("rmsprop_twin_variance") * v
    moved = divided_by_root(o["eps"], v, dv, g, dg)
    if o.get("momentum"):
        kept = o["momentum"] * at.states["momentum_buffer"].abs()
        limits["momentum_buffer"] = moved = moved + bound("rmsprop_twin_kept") * kept
        moved = moved + bound("rmsprop_twin_moved") * (kept + g.abs() / (v.clamp(min=0.0).sqrt() + o["eps"]))
    return {**limits, "displacement": o["lr"] * moved}


def adagrad_limits(o: Options, at: Before) -> Limits:
    """Of torch.optim.Adagrad."""
    g, dg = total_grad(o, at)
    s = at.states["sum"] + g * g
    ds = bound("adagrad_twin_sum") * s + 2.0 * g.abs() * dg
    lr = o["lr"] / (1.0 + (at.step - 1) * o.get("lr_decay", 0.0))
    return {"sum": ds, "displacement": lr * divided_by_root(o["eps"], s, ds, g, dg)}


def divided_by_root(eps: float, v: Tensor, dv: Tensor, g: Tensor, dg: Tensor) -> Tensor:
    """How far two quotients g / (sqrt(v) + eps) may differ: most, for v within dv, where both are at its lower end."""
    root, least = v.clamp(min=0.0).sqrt(), (v - dv).clamp(min=0.0).sqrt()
    inherited = (root - least) / (least + eps)
    return ((bound("rmsprop_twin_update") + inherited) * g.abs() + dg) / (root + eps)


def adadelta_limits(o: Options, at: Before) -> Limits:
    """Of torch.optim.Adadelta, whose displacement D is over lr."""
    rho, eps = o["rho"], o["eps"]
    g, dg = total_grad(o, at)
    v, dv = average_square(rho, at.states["square_avg"], g, dg)
    p = ((at.states["acc_delta"] + eps) / (v + eps)).sqrt()
    inherited = p * (0.5 * dv / (v + eps) * g.abs() + dg)
    d = p * g.abs()
    squares = (1.0 - rho) * d
    dacc = bound("adadelta_twin_kept") * rho * at.states["acc_delta"] + squares * (bound("adadelta_twin_new") * d + 2 * inherited)
    return {"square_avg": dv, "acc_delta": dacc, "displacement": o["lr"] * (bound("adadelta_twin_update") * d + inherited)}


def sghmc_limits(o: Options, at: Before) -> Limits:
    """Of torch.optim.SGD, its velocity times lr, which is SGHMC's."""
    g, dg = total_grad(o, at)
    terms = o["momentum"] * at.states["momentum_buffer"].abs() + o["lr"] * g.abs()
    dv = bound("sghmc_twin_velocity") * terms + o["lr"] * dg
    return {"momentum_buffer": dv, "displacement": dv + bound("sghmc_twin_update") * terms}


LIMITS: dict[str, Callable[[Options, Before], Limits]] = {
    "Adam": adam_limits,
    "AdamW": adam_limits,
    "RMSprop": rmsprop_limits,
    "Adagrad": adagrad_limits,
    "Adadelta": adadelta_limits,
    "SGD": sghmc_limits,
}


def param_limit(o: Options, at: Before, after: Tensor, displacement: Tensor) -> Tensor:
    """How far the new parameters may differ, given how far the displacements may."""
    decay = bound("twin_decoupled_decay") if o.get("decoupled") and o.get("weight_decay") else 0.0
    return bound("sgd_twin_param") * after.abs() + decay * at.param.abs() + displacement
