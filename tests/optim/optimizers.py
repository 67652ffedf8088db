"""Every optimizer in its typical forms: name -> how to make one. Tests of what all optimizers have in common run over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qlangevin import (
    SGHMC,
    SGLD,
    CoolMomentum,
    LangevinAdadelta,
    LangevinAdagrad,
    LangevinAdam,
    LangevinAdamW,
    LangevinRMSprop,
    QuantizedAdam,
    QuantizedAdamW,
    QuantizedSGD,
)
from qlangevin.optim.base import LangevinOptimizer
from qlangevin.quantizers import AdaptiveResolution, CalibratedResolution, Compensation, Grid, LogResolution
from qlangevin.schedules import Cooling, Linear

REQUIRED: dict[type[LangevinOptimizer], dict[str, Any]] = {
    SGLD: {"temperature": 0.0},
    SGHMC: {"temperature": 0.0},
    CoolMomentum: {"momentum": 0.5},
    QuantizedSGD: {"update_quantizer": None, "compensation": None},
    QuantizedAdam: {"update_quantizer": None, "compensation": None},
    QuantizedAdamW: {"update_quantizer": None, "compensation": None},
}


@dataclass(frozen=True)
class Form:
    """An optimizer's class and the options it is given."""

    kind: type[LangevinOptimizer]
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, params: Any, lr: Any = 0.05, **options: Any) -> Any:
        """One with a fixed seed; `options` have the last word."""
        return self.kind(params, lr, **{"seed": 7, **self.options, **options})  # type: ignore[arg-type]

    def make_bare(self, params: Any, **options: Any) -> Any:
        """One of the class with no options but those that it requires, and another lr and seed."""
        return self.kind(params, 9.0, **{"seed": 99, **REQUIRED.get(self.kind, {}), **options})  # type: ignore[arg-type]


# Two steps are an epoch, so that the schedules of epochs move within the few steps of a test.
FORMS: dict[str, Form] = {
    "SGLD": Form(SGLD, {"temperature": 0.3, "weight_decay": 0.01}),
    "SGLD with momentum": Form(SGLD, {"temperature": 0.3, "momentum": 0.9, "weight_decay": 0.01}),
    "SGLD, averaged noise": Form(SGLD, {"temperature": 0.3, "integrator": "leimkuhler_matthews", "weight_decay": 0.01}),
    "SGLD, corrected rounding": Form(SGLD, {"temperature": 1e-4, "param_rounding": "variance_corrected"}),
    "CoolMomentum": Form(CoolMomentum, {"momentum": Cooling(8), "weight_decay": 0.01}),
    "CoolMomentum, warm": Form(
        CoolMomentum,
        {"momentum": Cooling(8, 0.9, "exponential", 1), "temperature": 0.2, "update_quantizer": Grid(1024.0, "stochastic")},
    ),
    "QuantizedSGD, published": Form(
        QuantizedSGD,
        {"update_quantizer": Grid(LogResolution(2, scale=128.0)), "compensation": Compensation(1.0, 2), "weight_decay": 0.01},
    ),
    "QuantizedSGD, adaptive": Form(
        QuantizedSGD,
        {
            "update_quantizer": Grid(AdaptiveResolution(batches_per_epoch=2, start=1), "stochastic"),
            "compensation": Compensation(1.5, 2, envelope="sigmoid", norm="global"),
            "momentum": 0.9,
            "grad_quantizer": Grid(256.0, "stochastic"),
        },
    ),
    "QuantizedSGD, calibrated": Form(
        QuantizedSGD,
        {
            "update_quantizer": Grid(CalibratedResolution(), "dither"),
            "compensation": None,
            "temperature": Linear(0.5, 0.1, 6),
            "momentum": 0.5,
        },
    ),
    "QuantizedSGD, noise": Form(
        QuantizedSGD, {"update_quantizer": Grid(LogResolution(2, scale=16.0), "noise"), "compensation": Compensation(1.0, 2)}
    ),
    "SGHMC": Form(SGHMC, {"temperature": 0.3, "friction": 0.2, "noise_estimate": 0.05, "weight_decay": 0.01}),
    "LangevinRMSprop": Form(LangevinRMSprop, {"temperature": 0.1, "alpha": 0.9, "weight_decay": 0.01}),
    "LangevinRMSprop, centred": Form(LangevinRMSprop, {"temperature": 0.1, "alpha": 0.9, "centered": True}),
    "LangevinRMSprop with momentum": Form(LangevinRMSprop, {"temperature": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "LangevinRMSprop, centred with momentum": Form(
        LangevinRMSprop, {"temperature": 0.1, "alpha": 0.9, "centered": True, "momentum": Linear(0.9, 0.5, 6)}
    ),
    "LangevinAdagrad": Form(
        LangevinAdagrad, {"temperature": Linear(0.5, 0.1, 6), "lr_decay": 0.1, "initial_accumulator_value": 0.5}
    ),
    "LangevinAdadelta": Form(LangevinAdadelta, {"temperature": 0.01, "rho": 0.8, "eps": 1e-3}),
    "LangevinAdam": Form(LangevinAdam, {"temperature": 0.1, "amsgrad": True, "weight_decay": 0.01}),
    "LangevinAdam without momentum in the drift": Form(
        LangevinAdam,
        {"temperature": 0.1, "momentum_in_drift": False, "betas": (0.8, 0.9), "grad_quantizer": Grid(64.0, "dither")},
    ),
    "LangevinAdamW": Form(LangevinAdamW, {"temperature": 0.1}),
    "LangevinAdamW, corrected rounding": Form(LangevinAdamW, {"temperature": 1e-3, "param_rounding": "variance_corrected"}),
    "QuantizedAdam": Form(
        QuantizedAdam,
        {"update_quantizer": Grid(LogResolution(2, scale=128.0)), "compensation": Compensation(1.0, 2), "epsilon_hat": True},
    ),
    "QuantizedAdamW, adaptive": Form(
        QuantizedAdamW,
        {"update_quantizer": Grid(AdaptiveResolution(batches_per_epoch=2, start=1), "stochastic"), "compensation": None},
    ),
}
BACKENDS = ("native", "reference")
