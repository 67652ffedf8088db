"""How often CoolMomentum finds the global minimum of Lennard-Jones clusters, cooled and not; every arm starts from equal minima.

Noise of constant variance on the gradients stands for mini-batches: it makes the temperature lr s^2 (1 + rho) / (4 (1 - rho)),
which falls 199 times as rho falls from 0.99 to 0. The arm "thermostat" keeps rho and lowers the temperature of explicit noise
instead. Usage: python -m benchmarks.lennard_jones [--json FILE]; arms that FILE has already are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from qlangevin import CoolMomentum, schedules
from qlangevin.bench.machine import describe_machine

from .clusters import GLOBAL_MINIMA, RADII, count_successes, descend, draw_starts, gradient

RHO = 0.99
LR = 2e-4  # 0.014 squared: an ordinary time step of molecular dynamics
CONSTANT = {f"momentum {rho}": rho for rho in (RHO, 0.9, 0.0)}
ARMS = (*schedules.COOLINGS, *CONSTANT, "thermostat")


@dataclass(frozen=True)
class Study:
    """One cluster's experiment. hot: the temperature at momentum 0.99."""

    atoms: int
    clusters: int
    steps: int
    hot: float
    seed: int = 1

    @property
    def grad_noise(self) -> float:
        """The noise's standard deviation."""
        return math.sqrt(4.0 * self.hot * (1.0 - RHO) / (LR * (1.0 + RHO)))


STUDIES = (Study(13, clusters=128, steps=8000, hot=0.5), Study(38, clusters=64, steps=24000, hot=0.3))


def options_of(arm: str, study: Study) -> dict[str, Any]:
    """CoolMomentum's momentum and temperature."""
    if arm in schedules.COOLINGS:
        return {"momentum": schedules.Cooling(total_steps=study.steps, start=RHO, form=arm)}
    if arm in CONSTANT:
        return {"momentum": CONSTANT[arm]}
    fall = (1.0 - RHO) / (1.0 + RHO)

    def cooling(step: int) -> float:
        return study.hot * fall ** ((step - 1) / study.steps)

    return {"momentum": RHO, "temperature": cooling}


def anneal(arm: str, study: Study, starts: Tensor) -> Tensor:
    """Where the clusters are after the arm's steps."""
    positions = torch.nn.Parameter(starts.float().contiguous())
    optimizer = CoolMomentum([positions], LR, seed=study.seed, **options_of(arm, study))
    generator = torch.Generator().manual_seed(study.seed)
    scale = 0.0 if arm == "thermostat" else study.grad_noise
    for _ in range(study.steps):
        positions.grad = gradient(positions.detach(), RADII[study.atoms])
        positions.grad += scale * torch.randn(positions.shape, generator=generator)
        optimizer.step()
    return positions.detach()


def summarize(study: Study, ends: Tensor) -> dict[str, Any]:
    """Success after a last descent, without the wall."""
    inside, _ = descend(ends, RADII[study.atoms])
    _, energies = descend(inside)
    found = count_successes(energies, study.atoms)
    interval = binomtest(found, study.clusters).proportion_ci(method="wilson")
    quantiles = torch.quantile(energies, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    return {
        "successes": found,
        "of": study.clusters,
        "wilson_95": [round(float(interval.low), 4), round(float(interval.high), 4)],
        "best": round(float(energies.min()), 6),
        "quartiles": [round(float(value), 3) for value in quantiles],
    }


def run_study(study: Study, known: dict[str, Any], keep: Callable[[], None]) -> None:
    """Runs the arms that are not known yet, and keeps each when it is done."""
    starts, _ = descend(draw_starts(study.clusters, study.atoms, study.seed), RADII[study.atoms])
    for arm in ("descent alone", *ARMS):
        if arm not in known:
            begun = time.perf_counter()
            ends = starts if arm == "descent alone" else anneal(arm, study, starts)
            known[arm] = {**summarize(study, ends), "seconds": round(time.perf_counter() - begun, 1)}
            keep()
        print(f"{study.atoms} atoms, {arm:<14} {known[arm]}", flush=True)


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    path = parser.parse_args().json
    result: dict[str, Any] = {"machine": describe_machine(torch.device("cpu")), "lr": LR, "studies": {}}
    if path and path.exists():
        result["studies"] = json.loads(path.read_text())["studies"]

    def keep() -> None:
        if path:
            path.write_text(json.dumps(result, indent=2) + "\n")

    for study in STUDIES:
        facts = {**asdict(study), "grad_noise": study.grad_noise, "global_minimum": GLOBAL_MINIMA[study.atoms]}
        known = result["studies"].setdefault(str(study.atoms), {**facts, "arms": {}})
        run_study(study, known["arms"], keep)


if __name__ == "__main__":
    main()
