"""RMSprop with noise: preconditioned stochastic gradient Langevin dynamics."""

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


class LangevinRMSprop(PreconditionedOptimizer):
    r"""RMSprop whose noise fits its preconditioner: the field's pSGLD without the divergence term.

    .. math::
        v \leftarrow \alpha v + (1 - \alpha) g^2, \qquad P = 1 / (\sqrt v + \epsilon), \qquad
        \theta \leftarrow \theta - \eta P (g + \lambda\theta) + \sqrt{2 \eta T P}\; z

    with z of mean 0 and variance 1; v sees the decay too. At temperature 0 it is torch.optim.RMSprop, neither centred nor with
    momentum. While P changes with the parameters the law is not exp(-U / T), as the divergence of P is missing: it tends to
    exp(-U / T) / P where the average is shorter than the chain's relaxation, for small lr at a fixed alpha; docs/methods.md has
    figures. ``freeze_preconditioner()`` makes it exact. Elements with v = 0 draw no noise.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: the step size eta, in [0, inf); float or 0-dim tensor.
        alpha: the average's factor, in [0, 1).
        eps: epsilon, in [0, inf). Langevin's is larger than torch's 1e-8: P is at most 1 / eps. At 0 elements
            that never had a gradient become NaN, as torch's do.
        temperature: T in the unit of the loss, in [0, inf); float, 0-dim tensor or schedule. qlangevin.temperature converts.
        weight_decay, decoupled_weight_decay: as for SGLD.
        grad_quantizer, update_quantizer, noise, noise_on, param_rounding, state_rounding, state_dtype, max_grad_norm, seed,
            chain, maximize, capturable, foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Li, Chen, Carlson, Carin, AAAI 2016, eq. 7; Bras, arXiv 2212.14718, with T = sigma^2 / 2.
    """

    rules = ("rmsprop",)
    rule_fields: ClassVar[dict[str, Any]] = {"alpha": Number(high=1.0), **FREEZABLE}
    off_if_zero = ("momentum", "centered")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        *,
        alpha: float = 0.99,
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
        return "rmsprop"
