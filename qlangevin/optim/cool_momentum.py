"""CoolMomentum: momentum that cools as simulated annealing does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..fields import Number
from ..quantizers import BlockGrid, Grid
from ..schedules import Cooling
from .base import LangevinOptimizer

Schedule = Callable[[int], float]


class CoolMomentum(LangevinOptimizer):
    r"""Momentum SGD at a constant learning rate, whose momentum falls to 0: the noise of the mini-batches is the heat bath.

    .. math::
        v \leftarrow \rho_k v + \tfrac12 \eta (1 + \rho_k) (g + \lambda\theta) + \sqrt{\eta T (1 - \rho_k^2)}\; z, \qquad
        \theta \leftarrow \theta - v

    with z of mean 0 and variance 1, absent at temperature 0. The velocity v is minus the displacement, and includes lr. Stable
    while lr times the curvature is below 4, whatever the momentum. After ``collect_metrics()``, ``metrics()`` has the
    temperature E v^2 / lr of each group.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: the step size eta, in [0, inf); float or 0-dim tensor. It is meant to stay constant.
        momentum: rho_k, a schedule: ``schedules.Cooling(total_steps=...)``, or any callable ``step -> [0, 1)``; a number is
            constant momentum, SGD with lr (1 + momentum) / 2. torch's OneCycleLR and CyclicLR overwrite it unless they are
            given cycle_momentum=False.
        temperature: T of noise in addition to the mini-batches', in [0, inf); float, 0-dim tensor or schedule.
        weight_decay, decoupled_weight_decay, grad_quantizer, update_quantizer, noise, noise_on, param_rounding, state_rounding,
            state_dtype, max_grad_norm, seed, chain, maximize, capturable, foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Borysenko and Byshkin, Scientific Reports 11:10705 (2021), eq. 20 and the algorithm after it; the noise is that of the
    same discretization (Brunger, Brooks, Karplus 1984).
    """

    rules = ("cool_momentum",)
    rule_fields: ClassVar[dict[str, Any]] = {"momentum": Number(high=1.0, scheduled=True)}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        *,
        momentum: Cooling | Schedule | float,
        temperature: float | Tensor | Schedule = 0.0,
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
        return "cool_momentum"
