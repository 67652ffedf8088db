"""Quantized and Langevin optimizers for PyTorch: one fused pass over all tensors, the same bits on every backend."""

from . import layers, quantizers, schedules
from . import thermostat as temperature
from .errors import BackendError, HyperparameterError, QlangevinError, StateDictError, TensorError
from .optim import (
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

__version__ = "0.1.0.dev0"

__all__ = [
    "SGHMC",
    "SGLD",
    "BackendError",
    "CoolMomentum",
    "HyperparameterError",
    "LangevinAdadelta",
    "LangevinAdagrad",
    "LangevinAdam",
    "LangevinAdamW",
    "LangevinRMSprop",
    "QlangevinError",
    "QuantizedAdam",
    "QuantizedAdamW",
    "QuantizedSGD",
    "StateDictError",
    "TensorError",
    "layers",
    "quantizers",
    "schedules",
    "temperature",
]
