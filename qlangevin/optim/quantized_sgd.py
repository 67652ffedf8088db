"""The quantized learning equation for SGD."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..fields import Flag, Number, OptionalCompensation
from ..quantizers import BlockGrid, Compensation, Grid
from ..scalar_values import as_number
from .base import LangevinOptimizer

Schedule = Callable[[int], float]


class QuantizedSGD(LangevinOptimizer):
    r"""SGD whose updates are rounded to a grid that grows finer: the rounding errors are the noise of an annealing.

    .. math::
        h = -\eta (g + \lambda\theta), \qquad \theta \leftarrow \theta + \bigl(h + s_t\, \eta\, h / \lVert h \rVert\bigr)^{Q_t}

    where x^Q rounds to the multiples of 1 / Q, and with momentum h is minus eta times the velocity. Dithered, the grid is as warm
    as (1 - momentum) / (24 eta Q^2), for eta times the curvature far below (1 - momentum)^2; ``metrics()`` reports that with the
    share of updates that it rounds to 0.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: the step size eta, in [0, inf); float or 0-dim tensor.
        update_quantizer: a quantizers.Grid whose resolution is LogResolution (the published schedules), AdaptiveResolution
            (that of 2021), CalibratedResolution (as warm as `temperature`), a number or any callable ``step -> Q``, and whose
            rounding is "nearest" (the equation), "floor" (the published code), "stochastic", "dither", or "noise" (nothing is
            rounded; noise of equal temperature instead). None quantizes nothing.
        compensation: a quantizers.Compensation, the term after h; None for none. The published method has it.
        temperature: T of a CalibratedResolution, in [0, inf); float, 0-dim tensor or schedule; at 0 that grid rounds nothing.
            No other noise is added.
        momentum, dampening, nesterov, weight_decay, decoupled_weight_decay, grad_quantizer, noise, noise_on, param_rounding,
            state_rounding, state_dtype, max_grad_norm, seed, chain, maximize, capturable, foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Seok and Cho, arXiv 2305.18864, the learning equation and its algorithm for SGD, and the code of its authors.
    """

    rules = ("plain", "momentum")
    rule_fields: ClassVar[dict[str, Any]] = {
        "momentum": Number(high=1.0, scheduled=True),
        "dampening": Number(high=1.0),
        "nesterov": Flag(),
        "compensation": OptionalCompensation(),
    }
    quantizer_is_thermostat = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        *,
        update_quantizer: Grid | None,
        compensation: Compensation | None,
        temperature: float | Tensor | Schedule = 0.0,
        momentum: float | Schedule = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        grad_quantizer: Grid | BlockGrid | None = None,
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
        """Momentum if the group has any, now or by a schedule."""
        return "plain" if as_number(group["momentum"]) == 0 else "momentum"
