"""Quantized and Langevin optimizers for PyTorch: one fused pass over all tensors, the same bits on every backend."""

from . import layers, quantizers, schedules
from . import thermostat as temperature
from .errors import BackendError, HyperparameterError, QlangevinError, StateDictError, TensorError
from .optim import SGLD, CoolMomentum, QuantizedSGD

__version__ = "0.1.0.dev0"

__all__ = [
    "SGLD",
    "BackendError",
    "CoolMomentum",
    "HyperparameterError",
    "QlangevinError",
    "QuantizedSGD",
    "StateDictError",
    "TensorError",
    "layers",
    "quantizers",
    "schedules",
    "temperature",
]
