"""Temperature: its units, its converters, and which rules have a law to sample (public as ``qlangevin.temperature``).

``temperature`` T means that the chain samples exp(-U / T) for a small learning rate, U being what the gradients are the
gradient of. The variance each rule adds per step for that is a row in ``csrc/core/rules.h`` (``noise_variance``), mirrored
in ``reference.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .errors import HyperparameterError


def from_sigma(sigma: float) -> float:
    """T = sigma^2 / 2, for noise written as sigma sqrt(lr) xi (Bras, arXiv 2212.14718).

    Args:
        sigma: the noise's scale, in [0, inf).

    Raises:
        HyperparameterError: sigma negative or not finite.
    """
    sigma = _finite("sigma", sigma, low=0.0)
    return _finite("sigma * sigma / 2", sigma * sigma / 2, low=0.0)


def from_nbeta(nbeta: float) -> float:
    """T = 1 / (N beta), for the inverse temperature times the number of data points of a mean loss.

    Args:
        nbeta: N beta, in (0, inf).

    Raises:
        HyperparameterError: nbeta not positive or not finite.
    """
    return _finite("1 / nbeta", 1.0 / _finite("nbeta", nbeta, low=math.nextafter(0.0, 1.0)), low=0.0)


def posterior(num_data: int) -> float:
    """T = 1 / N: with U the mean loss over N data points (prior included, divided by N), exp(-U / T) is the posterior.

    Args:
        num_data: N >= 1.

    Raises:
        HyperparameterError: num_data below 1.
    """
    return from_nbeta(_finite("num_data", num_data, low=1.0))


def from_welling_teh(eps: float, num_data: int) -> tuple[float, float]:
    """(lr, temperature) of SGLD on the mean loss for step size eps of Welling and Teh (2011), theta += eps/2 grad + N(0, eps).

    lr = eps N / 2, T = 1 / N.

    Args:
        eps: step size on the sum of the log posterior, in (0, inf).
        num_data: N >= 1.

    Raises:
        HyperparameterError: eps not positive, num_data below 1.
    """
    return _finite("eps", eps, low=math.nextafter(0.0, 1.0)) * num_data / 2, posterior(num_data)


def check_law(group: Mapping[str, Any], temperature: float) -> None:
    """Refuses a temperature above 0 for options under which the chain has no known law."""
    if temperature <= 0:
        return
    if group.get("dampening", 0) != 0:
        raise HyperparameterError(f"dampening = {group['dampening']} with temperature > 0: that chain has no known law; use 0")
    if group.get("nesterov", False):
        raise HyperparameterError("nesterov = True with temperature > 0: that chain has no known law; use False")


def quantizer_temperature(resolution: float, lr: float, momentum: float) -> float:
    """The temperature at which rounding errors on the displacement keep a chain: ``T = (1 - momentum) / (24 lr Q^2)``.

    Errors of variance 1 / (12 Q^2) a step move the parameter itself, whatever the momentum, while its drift is that of the
    learning rate lr / (1 - momentum). It is the limit for lr a far below (1 - momentum)^2, a being the curvature: dithered, the
    variance at k = lr a is T / a times ``(1 + 2 momentum k / ((1 + momentum) (1 - momentum)^2)) / (1 - k / (2 (1 + momentum)))``,
    which is 5.8 at momentum 0.9 and k = 0.05.

    Args:
        resolution: Q in (0, inf].
        lr: in (0, inf).
        momentum: in [0, 1).
    """
    product = 24.0 * lr * resolution * resolution
    return (1.0 - momentum) / product if product > 0.0 else math.inf


def calibrated_resolution(temperature: float, lr: float, momentum: float) -> float:
    """The resolution of a given quantizer_temperature, ``Q = sqrt((1 - momentum) / (24 lr T))``; infinite where nothing moves.

    Args:
        temperature: T in [0, inf).
        lr: in [0, inf).
        momentum: in [0, 1).
    """
    product = 24.0 * lr * temperature
    return math.sqrt((1.0 - momentum) / product) if product > 0.0 else math.inf


def kinetic_temperature(mean_square: Any, lr: float) -> Any:
    """CoolMomentum's temperature ``T = E d^2 / lr`` of displacements d (Borysenko and Byshkin 2021).

    Args:
        mean_square: E d^2, over elements; a number or a tensor.
        lr: in (0, inf).
    """
    return mean_square / lr


def _finite(name: str, value: float, low: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < low:
        raise HyperparameterError(f"{name} must be a finite number of at least {low:g}, got {value!r}")
    return float(value)
