"""Adam and AdamW with noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..fields import Betas, Flag
from ..quantizers import BlockGrid, Grid
from .preconditioned import FREEZABLE, PreconditionedOptimizer

Schedule = Callable[[int], float]


class LangevinAdam(PreconditionedOptimizer):
    r"""Adam whose noise fits its preconditioner.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        P = \frac{1}{(1 - \beta_1^k) (\sqrt{v / (1 - \beta_2^k)} + \epsilon)}, \qquad
        \theta \leftarrow \theta - \eta P m + \sqrt{2 \eta T P}\; z

    at a parameter's own step k from 1 on, with z of mean 0 and variance 1; m and v see a decay that is not decoupled. At
    temperature 0 it is torch.optim.Adam. With momentum in the drift the chain is hotter than T: with P fixed on a quadratic of
    curvature a, K = eta P a, by (1 + 2 beta_1 K / (1 - beta_1^2)) / (1 - K (1 - beta_1) / (2 (1 + beta_1))); T alone is for K far
    below 1 - beta_1. Without it, the gradient in the place of m, it is the law of LangevinRMSprop: exact once
    ``freeze_preconditioner()`` was called. The first steps are hotter, P being 1 / (1 - beta_1) times as large at k = 1. Elements
    with v = 0 draw no noise.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: the step size eta, in [0, inf); float or 0-dim tensor.
        betas: (beta_1, beta_2), each in [0, 1).
        eps: epsilon, in [0, inf). Langevin's is larger than torch's 1e-8: P is at most 1 / eps. At 0 elements
            that never had a gradient become NaN, as torch's do.
        amsgrad: the largest v so far in the place of v.
        momentum_in_drift: False: the gradient in the place of m in the drift (Bras's second variant); m is kept all the same.
        temperature: T in the unit of the loss, in [0, inf); float, 0-dim tensor or schedule. qlangevin.temperature converts.
        weight_decay, decoupled_weight_decay: as for SGLD; LangevinAdamW has it decoupled.
        grad_quantizer, update_quantizer, noise, noise_on, param_rounding, state_rounding, state_dtype, max_grad_norm, seed,
            chain, maximize, capturable, foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Kingma and Ba, ICLR 2015, algorithm 1; noise and both drifts: Bras, arXiv 2212.14718, with T = sigma^2 / 2.
    """

    rules = ("adam", "adam_amsgrad")
    rule_fields: ClassVar[dict[str, Any]] = {
        "betas": Betas(),
        "amsgrad": Flag(),
        "momentum_in_drift": Flag(),
        "epsilon_hat": Flag(),
        **FREEZABLE,
    }
    own_defaults: ClassVar[dict[str, Any]] = {"frozen_at": 0, "epsilon_hat": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        amsgrad: bool = False,
        momentum_in_drift: bool = True,
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
        """With the largest second moment so far, or with the present one."""
        return "adam_amsgrad" if group["amsgrad"] is True else "adam"


class LangevinAdamW(LangevinAdam):
    """LangevinAdam with decoupled weight decay, theta -= lr weight_decay theta, as torch.optim.AdamW; arguments as there.

    The decay is a prior of precision weight_decay / (P T), which differs between elements; coupled decay is one of
    weight_decay / T.
    """

    def __init__(self, params: ParamsT, lr: float | Tensor = 1e-3, *, weight_decay: float = 1e-2, **options: Any) -> None:
        super().__init__(params, lr, weight_decay=weight_decay, **{"decoupled_weight_decay": True, **options})
