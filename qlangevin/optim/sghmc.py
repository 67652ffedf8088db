"""Stochastic gradient Hamiltonian Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..fields import Number
from ..quantizers import BlockGrid, Grid
from .base import LangevinOptimizer

Schedule = Callable[[int], float]


class SGHMC(LangevinOptimizer):
    r"""Stochastic gradient Hamiltonian Monte Carlo: momentum with friction, and noise in the velocity.

    .. math::
        v \leftarrow (1 - \alpha) v + \eta (g + \lambda\theta) + \sqrt{2 (\alpha - \hat\beta) \eta T}\; z, \qquad
        \theta \leftarrow \theta - v

    with z of mean 0 and variance 1. The velocity v is minus the displacement, and includes lr. On a quadratic of curvature a the
    variance is T / a over 1 - eta a / (2 (2 - alpha)), whatever part of the heat the gradients bring. It is SGLD with momentum
    1 - alpha, in the paper's parameters.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: eta, in [0, inf); float or 0-dim tensor.
        temperature: T in the unit of the loss, in [0, inf); float, 0-dim tensor or schedule. qlangevin.temperature converts.
        friction: alpha in (0, 1), of one step; float or schedule. 0.01 to 0.1 are usual.
        noise_estimate: the part of the friction whose heat the gradients' own noise brings, eta V / (2 T) their variance being V;
            in [0, friction].
        weight_decay, decoupled_weight_decay: as for SGLD.
        grad_quantizer, update_quantizer, noise, noise_on, param_rounding, state_rounding, state_dtype, max_grad_norm, seed,
            chain, maximize, capturable, foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Chen, Fox, Guestrin, ICML 2014, eq. 15.
    """

    rules = ("sghmc",)
    rule_fields: ClassVar[dict[str, Any]] = {
        "friction": Number(high=1.0, open_low=True, scheduled=True),
        "noise_estimate": Number(high=1.0),
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor,
        *,
        temperature: float | Tensor | Schedule,
        friction: float | Schedule = 0.1,
        noise_estimate: float = 0.0,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        grad_quantizer: Grid | BlockGrid | None = None,
        update_quantizer: Grid | None = None,
        noise: str = "gaussian",
        noise_on: Sequence[str] | None = None,
        param_rounding: str = "auto",
        state_rounding: str = "auto",
        state_dtype: torch.dtype | None = None,
        max_grad_norm: float | None = None,
        seed: int | None = None,
        chain: int = 0,
        maximize: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        backend: str = "auto",
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "params", "backend", "__class__")}
        super().__init__(params, given, backend)

    def rule_of(self, group: Mapping[str, Any]) -> str:
        """The one rule."""
        return "sghmc"
