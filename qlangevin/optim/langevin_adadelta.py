"""Adadelta with noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..fields import Number
from ..quantizers import BlockGrid, Grid
from .preconditioned import FREEZABLE, PreconditionedOptimizer

Schedule = Callable[[int], float]


class LangevinAdadelta(PreconditionedOptimizer):
    r"""Adadelta whose noise fits its preconditioner, and whose accumulator sees that noise.

    .. math::
        v \leftarrow \rho v + (1 - \rho) g^2, \qquad P = \sqrt{(u + \epsilon) / (v + \epsilon)}, \qquad
        D = -\eta P (g + \lambda\theta) + \sqrt{2 \eta T P}\; z, \qquad
        \theta \leftarrow \theta + D, \qquad u \leftarrow \rho u + (1 - \rho) (D / \eta)^2

    with z of mean 0 and variance 1; v sees the decay too. At temperature 0 it is torch.optim.Adadelta. P feeds on its own noise:
    it grows to T / (eta eps) + sqrt((T / (eta eps))^2 + 1), or to the edge of stability if that comes first, far hotter than T.
    Sample with a P that ``freeze_preconditioner()`` fixed after steps at temperature 0. Elements with v = 0 draw no noise. At
    lr = 0 u sees a displacement of 0.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: the step size eta, in [0, inf); float or 0-dim tensor.
        rho: the averages' factor, in [0, 1).
        eps: epsilon, in [1e-18, inf), added to the squares, whose product has to be a normal binary32 number.
        temperature: T in the unit of the loss, in [0, inf); float, 0-dim tensor or schedule. qlangevin.temperature converts.
        weight_decay, decoupled_weight_decay: as for SGLD.
        grad_quantizer, update_quantizer, noise, noise_on, param_rounding, state_rounding, state_dtype, max_grad_norm, seed,
            chain, maximize, capturable, foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Zeiler, arXiv 1212.5701, as torch.optim.Adadelta has it; noise as in Bras, arXiv 2212.14718, whose u averages D^2.
    """

    rules = ("adadelta",)
    rule_fields: ClassVar[dict[str, Any]] = {"rho": Number(high=1.0), **FREEZABLE, "eps": Number(low=1e-18)}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        *,
        rho: float = 0.9,
        eps: float = 1e-6,
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
        return "adadelta"
