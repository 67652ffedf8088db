"""The quantized learning equation for Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..fields import Betas, Flag, OptionalCompensation
from ..quantizers import BlockGrid, Compensation, Grid
from .preconditioned import FREEZABLE, PreconditionedOptimizer


class QuantizedAdam(PreconditionedOptimizer):
    r"""Adam whose updates are rounded to a grid that grows finer.

    .. math::
        h = -\eta P m, \qquad \theta \leftarrow \theta + \bigl(h + s_t\, \eta\, h / \lVert h \rVert\bigr)^{Q_t}

    where x^Q rounds to the multiples of 1 / Q, and m and P are LangevinAdam's. It takes no temperature: rounding errors of equal
    size in all elements are no heat bath of a preconditioned chain. As norms of h are near eta sqrt(n) for n elements, the
    compensation is a relative 1 / sqrt(n) of it.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: the step size eta, in [0, inf); float or 0-dim tensor.
        update_quantizer: a quantizers.Grid as for QuantizedSGD, without CalibratedResolution and "noise"; None quantizes nothing.
        compensation: a quantizers.Compensation, the term after h; None for none. The published method has it.
        betas, eps, amsgrad: as for LangevinAdam.
        epsilon_hat: eps is added to sqrt(v) instead of sqrt(v / (1 - beta_2^k)), as the published code has it.
        weight_decay, decoupled_weight_decay: as for SGLD; QuantizedAdamW has it decoupled.
        grad_quantizer, param_rounding, state_rounding, state_dtype, max_grad_norm, seed, chain, maximize, capturable,
            foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Seok and Cho, arXiv 2305.18864, the learning equation and its algorithm for Adam, and the code of its authors.
    """

    rules = ("adam", "adam_amsgrad")
    rule_fields: ClassVar[dict[str, Any]] = {
        "betas": Betas(),
        "amsgrad": Flag(),
        "momentum_in_drift": Flag(),
        "epsilon_hat": Flag(),
        "compensation": OptionalCompensation(),
        **FREEZABLE,
    }
    own_defaults: ClassVar[dict[str, Any]] = {"frozen_at": 0, "momentum_in_drift": True}
    takes_temperature = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        *,
        update_quantizer: Grid | None,
        compensation: Compensation | None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        amsgrad: bool = False,
        epsilon_hat: bool = False,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        grad_quantizer: Grid | BlockGrid | None = None,
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
        """With the largest second moment so far, or with the present one."""
        return "adam_amsgrad" if group["amsgrad"] is True else "adam"


class QuantizedAdamW(QuantizedAdam):
    """QuantizedAdam with decoupled weight decay, theta -= lr weight_decay theta; arguments as there."""

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-3, *, weight_decay: float = 1e-2, **options: Any) -> None:
        super().__init__(params, lr, weight_decay=weight_decay, **{"decoupled_weight_decay": True, **options})
