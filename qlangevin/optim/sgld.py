"""Stochastic gradient Langevin dynamics, with and without momentum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..fields import Choice, Flag, Number
from ..hyper import INTEGRATORS, NOISES
from ..levy import NoiseName, TailIndex
from ..quantizers import BlockGrid, Grid
from ..scalar_values import as_number
from .base import LangevinOptimizer

Schedule = Callable[[int], float]


class SGLD(LangevinOptimizer):
    r"""Stochastic gradient Langevin dynamics: SGD whose noise makes the chain sample exp(-U / T).

    .. math::
        v \leftarrow \mu v + (1 - \tau) (g + \lambda\theta) + \sqrt{2 (1 - \mu) T / \eta}\; z, \qquad
        \theta \leftarrow \theta - \eta v

    and without momentum
    :math:`\theta \leftarrow \theta - \eta (g + \lambda\theta) + \sqrt{2 \eta T}\; z`,
    with g the gradient of U, z of mean 0 and variance 1. At temperature 0 with nearest rounding it is torch.optim.SGD. Clipping
    and decoupled decay change the sampled law.

    Args:
        params: parameters, named parameters or groups; float32, bfloat16, float16, dense; float64 on the reference
            backend, with scalars that are rounded to binary32 as for the others.
            Named ones draw the same noise whatever their order and grouping.
        lr: the step size eta, in [0, inf); float or 0-dim tensor. 0 leaves the parameters bitwise unchanged.
        temperature: T in the unit of the loss, in [0, inf); float, 0-dim tensor or schedule. qlangevin.temperature converts.
        momentum: mu in [0, 1); float or schedule.
        dampening: tau in [0, 1); 0 if temperature > 0.
        nesterov: Nesterov's momentum; only at temperature 0.
        integrator: "euler", or "leimkuhler_matthews": (z + z') / 2 in the place of z, with the next step's z' drawn ahead, and
            drawn again then; exact variances on a quadratic at every stable lr. Only without momentum.
        weight_decay: lambda in [0, inf): a Gaussian prior, inside the gradient; decoupled: theta -= eta lambda theta.
        decoupled_weight_decay: whether weight_decay is decoupled from the gradient.
        grad_quantizer: quantizers.Grid, or BlockGrid for a scale a block, for the gradient, before decay; None for none.
        update_quantizer: quantizers.Grid for the displacement, before noise is added to it; None for none.
        noise: "gaussian", or "uniform" or "rademacher" (cheaper, of the same weak order in lr: right for averages of smooth
            functions, not for tails); or "levy", symmetric alpha-stable noise: see tail_index.
        tail_index: alpha in (1, 2] of Levy noise, and None for any other. A step's noise is :math:`(\eta T)^{1/\alpha} S` with
            :math:`E\, e^{i\omega S} = e^{-|\omega|^\alpha}`, which is sqrt(2 eta T) z at alpha = 2. Only there the chain
            samples exp(-U / T); below it is a Levy-driven one, whose jumps cross wide barriers: no variance exists. Without
            momentum, "variance_corrected" and capturable; on the CPU, or by the reference; reproducible, but its last bits are
            the C library's.
        noise_on: the names of the parameters that take noise, as layers.select_layers gives them; None: all. The others step
            as at temperature 0, bit for bit given the same gradients.
        param_rounding, state_rounding: "stochastic", "nearest", or "auto": stochastic below float32. param_rounding also
            "variance_corrected": noise and rounding have the noise's variance together, so that parameters below float32 sample
            at T; for noise on the parameter itself (no momentum) of at least the rounding's own variance, f (1 - f) ulp^2.
        state_dtype: torch.float32 or torch.bfloat16; None: bfloat16 for bfloat16 parameters, else float32.
        max_grad_norm: clips the gradients to this norm over all groups, in (0, inf); None for no clipping.
        seed: in [0, 2^64); None: torch.initial_seed() of rank 0. One for all groups. Optimizers with equal seeds, chains and
            names draw equal noise: give the members of an ensemble, and an optimizer that is made anew, another chain.
        chain: in [0, 2^32); separates parallel chains. One for all groups.
        maximize: ascend instead.
        capturable: for CUDA graphs: step counters are on the GPU; lr and temperature may be tensors there (float32, float64),
            read in each step, their range checked once; schedules need tabulate_schedules. No use on the CPU.
        foreach, fused: accepted as hints, ignored.
        backend: "auto", "native", "triton" or "reference".

    Raises:
        HyperparameterError: a value of the wrong type or out of range; duplicate names.
        TensorError: sparse, complex or integer parameters.
        BackendError: an unknown backend.

    Source: Welling and Teh, ICML 2011, eq. 4, for a mean loss; noise in the velocity: Chen, Fox, Guestrin, ICML 2014, eq. 15;
    averaged noise: Leimkuhler and Matthews, AMRX 2013; Levy noise: Simsekli, ICML 2017 (arXiv 1706.03649), Simsekli, Sagun,
    Gurbuzbalaban 2019 (arXiv 1901.06053), drawn by Chambers, Mallows, Stuck, JASA 1976.
    """

    rules = ("plain", "momentum")
    rule_fields: ClassVar[dict[str, Any]] = {
        "momentum": Number(high=1.0, scheduled=True),
        "dampening": Number(high=1.0),
        "nesterov": Flag(),
        "integrator": Choice(INTEGRATORS),
        "noise": NoiseName(NOISES, takes_levy=True),
        "tail_index": TailIndex(),
    }
    own_defaults: ClassVar[dict[str, Any]] = {"tail_index": None}  # of an optimizer that was pickled before there was one

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor,
        *,
        temperature: float | Tensor | Schedule,
        momentum: float | Schedule = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        integrator: str = "euler",
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        grad_quantizer: Grid | BlockGrid | None = None,
        update_quantizer: Grid | None = None,
        noise: str = "gaussian",
        tail_index: float | None = None,
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
