"""Measured over wanted temperature of every rule on a x^2 / 2, beside the exact law of the discrete chain.

100,000 replicas, one look: a standard error of 0.4 %. Usage: python -m benchmarks.temperatures
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import Parameter

from qlangevin import SGLD, CoolMomentum, QuantizedSGD
from qlangevin.quantizers import CalibratedResolution, Grid

REPLICAS, CURVATURE, TEMPERATURE = 100_000, 2.0, 0.3


def measure(optimizer_class: Any, k: float, momentum: float, **options: Any) -> float:
    """a Var x / T once the start is forgotten, at k = lr a."""
    x = Parameter(torch.zeros(REPLICAS))
    optimizer = optimizer_class([x], k / CURVATURE, momentum=momentum, temperature=TEMPERATURE, seed=3, **options)
    for _ in range(int(10 * (1 - momentum) / k + 20 / (1 - momentum))):
        x.grad = CURVATURE * x.detach()
        optimizer.step()
    return float((x.detach().double() ** 2).mean()) * CURVATURE / TEMPERATURE


def sgld(k: float, m: float) -> float:
    """Noise in the velocity: 1 / (1 - k / (2 (1 + m)))."""
    return 1 / (1 - k / (2 * (1 + m)))


def cooled(k: float, m: float) -> float:
    """CoolMomentum's: 1 / (1 - k / 4)."""
    return 1 / (1 - k / 4)


def gridded(k: float, m: float) -> float:
    """Errors on the displacement, which the velocity does not see: (1 + 2 m k / ((1 + m) (1 - m)^2)) / (1 - k / (2 (1 + m)))."""
    return (1 + 2 * m * k / ((1 + m) * (1 - m) ** 2)) / (1 - k / (2 * (1 + m)))


def calibrated(rounding: str) -> dict[str, Any]:
    """A grid as the thermostat."""
    return {"compensation": None, "update_quantizer": Grid(CalibratedResolution(), rounding)}


def main() -> None:
    """Prints the table."""
    rows: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("SGLD", SGLD, sgld, {}),
        ("CoolMomentum", CoolMomentum, cooled, {}),
        ("QuantizedSGD, dither", QuantizedSGD, gridded, calibrated("dither")),
        ("QuantizedSGD, noise", QuantizedSGD, sgld, calibrated("noise")),
    ]
    print("| optimizer | momentum | lr a | measured | exact |\n|---|---|---|---|---|")
    for name, optimizer_class, law, options in rows:
        for momentum, k in ((0.0, 0.05), (0.0, 0.5), (0.9, 0.05), (0.9, 0.001)):
            found = measure(optimizer_class, k, momentum, **options)
            print(f"| {name} | {momentum} | {k} | {found:.3f} | {law(k, momentum):.3f} |", flush=True)


if __name__ == "__main__":
    main()
