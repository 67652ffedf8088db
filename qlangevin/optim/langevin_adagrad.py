"""Adagrad with noise."""

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


class LangevinAdagrad(PreconditionedOptimizer):
    r"""Adagrad whose noise fits its preconditioner.

    .. math::
        s \leftarrow s + g^2, \qquad P = 1 / (\sqrt s + \epsilon), \qquad \eta_k = \eta / (1 + (k - 1) d), \qquad
        \theta \leftarrow \theta - \eta_k P (g + \lambda\theta) + \sqrt{2 \eta_k T P}\; z

    at a parameter's own step k from 1 on, with z of mean 0 and variance 1; s sees the decay too. At temperature 0 it is
    torch.optim.Adagrad. Elements with s = 0 draw no noise.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: the step size eta, in [0, inf); float or 0-dim tensor.
        lr_decay: d in [0, inf).
        initial_accumulator_value: of s, in [0, inf).
        eps: epsilon, in [0, inf). Langevin's is larger than torch's 1e-10: P is at most 1 / eps. At 0 elements
            that never had a gradient become NaN, as torch's do.
        temperature: T in the unit of the loss, in [0, inf); float, 0-dim tensor or schedule. qlangevin.temperature converts.
        weight_decay, decoupled_weight_decay: as for SGLD.
        grad_quantizer, update_quantizer, noise, noise_on, param_rounding, state_rounding, state_dtype, max_grad_norm, seed,
            chain, maximize, capturable, foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Duchi, Hazan, Singer, JMLR 12 (2011), as torch.optim.Adagrad has it; noise as in Bras, arXiv 2212.14718.
    """

    rules = ("adagrad",)
    rule_fields: ClassVar[dict[str, Any]] = {"lr_decay": Number(), "initial_accumulator_value": Number(), **FREEZABLE}
    initial_states: ClassVar[dict[str, str]] = {"sum": "initial_accumulator_value"}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        *,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
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
        return "adagrad"
