"""RMSprop with noise: preconditioned stochastic gradient Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..fields import Flag, Number
from ..quantizers import BlockGrid, Grid
from ..scalar_values import as_number
from .preconditioned import FREEZABLE, PreconditionedOptimizer

Schedule = Callable[[int], float]


class LangevinRMSprop(PreconditionedOptimizer):
    r"""RMSprop whose noise fits its preconditioner: the field's pSGLD without the divergence term.

    .. math::
        v \leftarrow \alpha v + (1 - \alpha) g^2, \qquad P = 1 / (\sqrt v + \epsilon), \qquad
        \theta \leftarrow \theta - \eta P (g + \lambda\theta) + \sqrt{2 \eta T P}\; z

    with z of mean 0 and variance 1; v sees the decay too. Centred, P is made of v - m^2, m averaging g as v does g^2; of v where
    rounding leaves less than 0 (torch: NaN). With momentum
    :math:`b \leftarrow \mu b + P g + \sqrt{2 (1 - \mu) T P / \eta}\; z,\ \theta \leftarrow \theta - \eta b`. At temperature 0 it
    is torch.optim.RMSprop. While P changes with the parameters the law is not exp(-U / T), as the divergence of P is missing: it
    tends to exp(-U / T) / P where the average is shorter than the chain's relaxation, for small lr at a fixed alpha, as
    docs/methods.md tells. ``freeze_preconditioner()`` makes it exact. Elements with v = 0 draw no noise.

    Args:
        params: parameters, named parameters or groups; types and names as for SGLD.
        lr: the step size eta, in [0, inf); float or 0-dim tensor.
        alpha: the average's factor, in [0, 1).
        eps: epsilon, in [0, inf). Langevin's is larger than torch's 1e-8: P is at most 1 / eps. At 0 elements
            that never had a gradient become NaN, as torch's do.
        momentum: mu in [0, 1); float or schedule.
        centered: whether P is made of the gradients' variance. A gradient that hardly varies has a large P, up to 1 / eps, and
            a state_dtype of bfloat16 leaves little of the difference then.
        temperature: T in the unit of the loss, in [0, inf); float, 0-dim tensor or schedule. qlangevin.temperature converts.
        weight_decay, decoupled_weight_decay: as for SGLD.
        grad_quantizer, update_quantizer, noise, noise_on, param_rounding, state_rounding, state_dtype, max_grad_norm, seed,
            chain, maximize, capturable, foreach, fused, backend: as for SGLD.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, at the step where a schedule gives it; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Hinton's Coursera lecture 6e (2012); centred: Graves, arXiv 1308.0850, eq. 38 to 41; noise: Li, Chen, Carlson, Carin,
    AAAI 2016, eq. 7; Bras, arXiv 2212.14718, T = sigma^2 / 2; in the velocity: Chen, Fox, Guestrin, ICML 2014, eq. 15.
    """

    own_defaults: ClassVar[dict[str, Any]] = {**PreconditionedOptimizer.own_defaults, "momentum": 0.0, "centered": False}
    rules = ("rmsprop", "rmsprop_centered", "rmsprop_momentum", "rmsprop_centered_momentum")
    rule_fields: ClassVar[dict[str, Any]] = {
        "alpha": Number(high=1.0),
        "momentum": Number(high=1.0, scheduled=True),
        "centered": Flag(),
        **FREEZABLE,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-6,
        momentum: float | Schedule = 0.0,
        centered: bool = False,
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
        """Centred or not, and with momentum if the group has any, now or by a schedule."""
        centered = "_centered" if group["centered"] is True else ""
        momentum = "" if as_number(group["momentum"]) == 0 else "_momentum"
        return f"rmsprop{centered}{momentum}"
