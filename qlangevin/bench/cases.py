"""What is timed: one row a case. A new optimizer is one row of CASES; its bytes are counted from its states."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import Parameter

from .. import (
    SGHMC,
    SGLD,
    CoolMomentum,
    LangevinAdadelta,
    LangevinAdagrad,
    LangevinAdamW,
    LangevinRMSprop,
    QuantizedAdamW,
    QuantizedSGD,
)
from ..backends import explain_backends
from ..optim.base import LangevinOptimizer
from ..quantizers import Compensation, Grid
from ..schedules import Cooling

LR = 1e-3
MOMENTUM = 0.9
TEMPERATURE = 1e-4


class Stepper(Protocol):
    """What a case needs of an optimizer."""

    @property
    def state(self) -> Mapping[Any, Any]:
        """For each parameter its states by name."""

    def step(self) -> object:
        """Takes one step."""


Make = Callable[[list[Parameter]], Stepper]


@dataclass(frozen=True)
class Package:
    """A distribution that a rival's row needs: the name to import and the name to install."""

    module: str
    install: str


@dataclass(frozen=True)
class Case:
    """One optimizer to time.

    Args:
        name: unique; what ``--cases`` looks in.
        dtype: of parameters and gradients.
        make: the optimizer of given parameters, which have gradients.
        family: "torch", "eager", "qlangevin" or "rival": the colour of its bar, and whether the self-test guards it.
        needs: the package of a rival, or None.
        beside: what the name of torch's row begins with whose time at the same dtype this one's is compared with.
    """

    name: str
    dtype: torch.dtype
    make: Make
    family: str = "qlangevin"
    needs: Package | None = None
    beside: str = "torch SGD fused"


def kernel_backend(device: torch.device) -> str | None:
    """The backend whose kernels are timed on a device: the first usable one, the slow reference apart; None if none is."""
    reasons = explain_backends(device, (torch.float32,) * 3)
    return next((name for name, why in reasons.items() if why is None and name != "reference"), None)


def ours(optimizer: Callable[..., Stepper], backend: str | None = None, **options: Any) -> Make:
    """An optimizer of this package with the given options; on the backend with kernels if none is named."""

    def make(params: list[Parameter]) -> Stepper:
        return optimizer(params, lr=LR, seed=0, backend=backend or kernel_backend(params[0].device) or "auto", **options)

    return make


def measured(make: Make) -> Make:
    """The same, every step of which collects metrics."""

    def make_measured(params: list[Parameter]) -> Stepper:
        optimizer = make(params)
        assert isinstance(optimizer, LangevinOptimizer)
        optimizer.collect_metrics()
        return optimizer

    return make_measured


def torch_sgd(**options: bool) -> Make:
    """torch.optim.SGD with momentum."""
    return lambda params: torch.optim.SGD(params, lr=LR, momentum=MOMENTUM, **options)


def torch_own(optimizer: Callable[..., Stepper], **options: Any) -> Make:
    """Another optimizer of torch.optim with the given options."""
    return lambda params: optimizer(params, lr=LR, **options)


def rival(module: str, name: str, **options: Any) -> Make:
    """An optimizer of another package, imported when it is made."""
    return lambda params: getattr(importlib.import_module(module), name)(params, lr=LR, **options)


class EagerLangevin:
    """The loop that Langevin libraries run: two operations and a random tensor for each parameter."""

    def __init__(self, params: list[Parameter]) -> None:
        self.params = params
        self.state: dict[Any, Any] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Takes one step."""
        for param in self.params:
            assert param.grad is not None
            param.add_(param.grad, alpha=-LR)
            param.add_(torch.randn_like(param), alpha=math.sqrt(2 * LR * TEMPERATURE))


F32, BF16 = torch.float32, torch.bfloat16
# Without noise; weights and states rounded to nearest, as the others do. Temperature, grids and rounding are added by row.
STILL: dict[str, Any] = {"temperature": 0.0, "momentum": MOMENTUM, "param_rounding": "nearest", "state_rounding": "nearest"}
WARM = {**STILL, "temperature": TEMPERATURE}
PLAIN = {**WARM, "momentum": 0.0}
NEAREST_GRID: dict[str, Any] = {"update_quantizer": Grid(2.0**20, "nearest")}
STOCHASTIC_GRID: dict[str, Any] = {"update_quantizer": Grid(2.0**20, "stochastic")}
COOL: dict[str, Any] = {"param_rounding": "nearest", "state_rounding": "nearest", "momentum": Cooling(10**9)}
QUANTIZED: dict[str, Any] = {**STILL, **NEAREST_GRID, "compensation": None}
COMPENSATED: dict[str, Any] = {**QUANTIZED, "compensation": Compensation(1e6, 1000)}
# Without momentum among the options: those of the rules with a preconditioner.
STILL_ADAPTIVE = {name: value for name, value in STILL.items() if name != "momentum"}
WARM_ADAPTIVE = {**STILL_ADAPTIVE, "temperature": TEMPERATURE}
FRICTION = {**WARM_ADAPTIVE, "friction": 1 - MOMENTUM}
QUANTIZED_ADAM: dict[str, Any] = {"param_rounding": "nearest", "state_rounding": "nearest", "compensation": None, **NEAREST_GRID}
# Torch's rows that others than SGD's stand beside: its fused ones, where it has them on every device.
ADAMW, RMSPROP, ADAGRAD, ADADELTA = (
    f"torch {way}" for way in ("AdamW fused", "RMSprop foreach", "Adagrad foreach", "Adadelta foreach")
)
CENTRED: dict[str, Any] = {"centered": True, "momentum": MOMENTUM}
RMSPROP_CENTRED = "torch RMSprop centred, momentum foreach"
SR = {"param_rounding": "stochastic", "state_rounding": "stochastic"}

CASES: tuple[Case, ...] = (
    Case("torch SGD for-loop", F32, torch_sgd(foreach=False), "torch"),
    Case("torch SGD foreach", F32, torch_sgd(foreach=True), "torch"),
    Case("torch SGD fused", F32, torch_sgd(fused=True), "torch"),
    Case("eager Langevin loop", F32, EagerLangevin, "eager"),
    Case("SGLD noise", F32, ours(SGLD, **PLAIN)),
    Case("SGLD momentum", F32, ours(SGLD, **STILL)),
    Case("SGLD momentum + noise", F32, ours(SGLD, **WARM)),
    Case("SGLD momentum + noise + nearest grid", F32, ours(SGLD, **WARM, **NEAREST_GRID)),
    Case("SGLD momentum + noise + stochastic grid", F32, ours(SGLD, **WARM, **STOCHASTIC_GRID)),
    Case("SGLD momentum + clipping", F32, ours(SGLD, **STILL, max_grad_norm=1.0)),
    Case("SGLD momentum + metrics", F32, measured(ours(SGLD, **STILL))),
    Case("CoolMomentum", F32, ours(CoolMomentum, **COOL)),
    Case("QuantizedSGD momentum", F32, ours(QuantizedSGD, **QUANTIZED)),
    Case("QuantizedSGD momentum + compensation", F32, ours(QuantizedSGD, **COMPENSATED)),
    Case("SGHMC noise", F32, ours(SGHMC, **FRICTION)),
    Case("torch AdamW foreach", F32, torch_own(torch.optim.AdamW, foreach=True), "torch", beside=ADAMW),
    Case("torch AdamW fused", F32, torch_own(torch.optim.AdamW, fused=True), "torch", beside=ADAMW),
    Case("LangevinAdamW", F32, ours(LangevinAdamW, **STILL_ADAPTIVE), beside=ADAMW),
    Case("LangevinAdamW noise", F32, ours(LangevinAdamW, **WARM_ADAPTIVE), beside=ADAMW),
    Case("QuantizedAdamW", F32, ours(QuantizedAdamW, **QUANTIZED_ADAM), beside=ADAMW),
    Case("torch RMSprop foreach", F32, torch_own(torch.optim.RMSprop, foreach=True), "torch", beside=RMSPROP),
    Case("LangevinRMSprop", F32, ours(LangevinRMSprop, **STILL_ADAPTIVE), beside=RMSPROP),
    Case(RMSPROP_CENTRED, F32, torch_own(torch.optim.RMSprop, foreach=True, **CENTRED), "torch", beside=RMSPROP_CENTRED),
    Case("LangevinRMSprop centred, momentum", F32, ours(LangevinRMSprop, **STILL_ADAPTIVE, **CENTRED), beside=RMSPROP_CENTRED),
    Case("torch Adagrad foreach", F32, torch_own(torch.optim.Adagrad, foreach=True), "torch", beside=ADAGRAD),
    Case("LangevinAdagrad", F32, ours(LangevinAdagrad, **STILL_ADAPTIVE), beside=ADAGRAD),
    Case("torch Adadelta foreach", F32, torch_own(torch.optim.Adadelta, foreach=True), "torch", beside=ADADELTA),
    Case("LangevinAdadelta", F32, ours(LangevinAdadelta, **STILL_ADAPTIVE), beside=ADADELTA),
    # --- further optimizers of this package, float32: here ---
    Case("torch SGD fused bf16", BF16, torch_sgd(fused=True), "torch"),
    Case("eager Langevin loop bf16", BF16, EagerLangevin, "eager"),
    Case("SGLD noise bf16 SR", BF16, ours(SGLD, **{**PLAIN, **SR})),
    Case("SGLD momentum bf16", BF16, ours(SGLD, **STILL)),
    Case("SGLD momentum + noise bf16 SR", BF16, ours(SGLD, **{**WARM, **SR})),
    Case("SGLD momentum + noise + nearest grid bf16 SR", BF16, ours(SGLD, **{**WARM, **SR}, **NEAREST_GRID)),
    Case("SGLD momentum + noise + stochastic grid bf16 SR", BF16, ours(SGLD, **{**WARM, **SR}, **STOCHASTIC_GRID)),
    Case("CoolMomentum bf16 SR", BF16, ours(CoolMomentum, **{**COOL, **SR})),
    Case("QuantizedSGD momentum bf16 SR", BF16, ours(QuantizedSGD, **{**QUANTIZED, **SR})),
    Case("SGHMC noise bf16 SR", BF16, ours(SGHMC, **{**FRICTION, **SR})),
    Case("torch AdamW fused bf16", BF16, torch_own(torch.optim.AdamW, fused=True), "torch", beside=ADAMW),
    Case("LangevinAdamW bf16", BF16, ours(LangevinAdamW, **STILL_ADAPTIVE), beside=ADAMW),
    Case("LangevinAdamW noise bf16 SR", BF16, ours(LangevinAdamW, **{**WARM_ADAPTIVE, **SR}), beside=ADAMW),
    # --- further optimizers of this package, bfloat16: here ---
    # --- other packages: timed where they are installed, named where they are not ---
    Case(
        "bitsandbytes SGD 8-bit state",
        F32,
        rival("bitsandbytes.optim", "SGD8bit", momentum=MOMENTUM),
        "rival",
        Package("bitsandbytes", "bitsandbytes"),
    ),
    Case(
        "torch-sgld momentum + noise",
        F32,
        rival("torch_sgld", "SGLD", momentum=1 - MOMENTUM, temperature=TEMPERATURE),  # it takes the friction
        "rival",
        Package("torch_sgld", "torch-sgld"),
    ),
)
