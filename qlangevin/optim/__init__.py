"""The optimizers."""

from .sgld import SGLD

__all__ = ["SGLD"]
