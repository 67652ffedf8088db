"""The optimizers."""

from .cool_momentum import CoolMomentum
from .quantized_sgd import QuantizedSGD
from .sgld import SGLD

__all__ = ["SGLD", "CoolMomentum", "QuantizedSGD"]
