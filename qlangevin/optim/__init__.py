"""The optimizers."""

from .cool_momentum import CoolMomentum
from .langevin_adadelta import LangevinAdadelta
from .langevin_adagrad import LangevinAdagrad
from .langevin_adam import LangevinAdam, LangevinAdamW
from .langevin_rmsprop import LangevinRMSprop
from .quantized_adam import QuantizedAdam, QuantizedAdamW
from .quantized_sgd import QuantizedSGD
from .sghmc import SGHMC
from .sgld import SGLD

__all__ = [
    "SGHMC",
    "SGLD",
    "CoolMomentum",
    "LangevinAdadelta",
    "LangevinAdagrad",
    "LangevinAdam",
    "LangevinAdamW",
    "LangevinRMSprop",
    "QuantizedAdam",
    "QuantizedAdamW",
    "QuantizedSGD",
]
