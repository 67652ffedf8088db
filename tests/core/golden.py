"""Golden runs: SHA-256 of 20 steps of every rule, storage types and a set of options.

    python -m tests.core.golden          prints which digests differ from golden.json
    python -m tests.core.golden --write  computes golden.json anew, with the reference

The digests change only with an entry under "Numerics" in the changelog. Inputs come from plain-Python Philox words and are
exact in binary32, so that no library's random numbers enter.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qlangevin.reference_rules import RULES

from . import oracle
from .cases import RULE_ROWS
from .kernels import DTYPES, Job, Step, bits_of, settings, step_reference

FILE = Path(__file__).with_name("golden.json")
ROWS = ("plain", "momentum", "momentum nesterov dampened", "cool momentum")
ROWS += ("sghmc", "rmsprop", "adagrad", "adam", "adam amsgrad", "adadelta")
ROWS += ("rmsprop centred", "rmsprop momentum", "rmsprop centred momentum")
MIXED = ROWS[:4]  # the rows that are run with gradients of any type
STEPS, SIZE, OFFSET, KEY, CHAIN = 20, 203, 5, 0x9E3779B97F4A7C15, 11

OPTIONS: dict[str, tuple[float, dict[str, Any]]] = {
    "bare": (1.0, {"lr": 0.1}),
    "langevin": (1.0, {"lr": 0.01, "temperature": 0.01, "stochastic_param": True, "stochastic_state": True}),
    "grids": (
        -1.0,
        {
            "lr": 0.05,
            "temperature": 1e-3,
            "noise": "uniform",
            "weight_decay": 0.1,
            "grad_rounding": "stochastic",
            "grad_resolution": 64.0,
            "update_rounding": "nearest",
            "update_resolution": 4096.0,
        },
    ),
    "dithered": (
        0.37,
        {
            "lr": 0.05,
            "temperature": 1e-3,
            "noise": "rademacher",
            "decoupled_weight_decay": 0.1,
            "stochastic_param": True,
            "grad_rounding": "nearest",
            "grad_resolution": 100.0,
            "update_rounding": "dither",
            "update_resolution": 1e4,
        },
    ),
    "everything": (
        1.0,
        {
            "lr": 0.02,
            "temperature": 0.1,
            "weight_decay": 0.01,
            "decoupled_weight_decay": 0.02,
            "stochastic_param": True,
            "stochastic_state": True,
            "grad_rounding": "dither",
            "grad_resolution": 1000.0,
            "update_rounding": "stochastic",
            "update_resolution": 2.0**14,
        },
    ),
    "blocks": (
        0.37,
        {"lr": 0.01, "stochastic_param": True, "grad_rounding": "stochastic", "grad_resolution": 2.0**14, "grad_blocks": True},
    ),
    "averaged": (1.0, {"lr": 0.01, "temperature": 0.01, "noise": "averaged_gaussian", "stochastic_param": True}),
    "corrected": (1.0, {"lr": 0.01, "temperature": 0.01, "stochastic_param": True, "corrected_param": True}),
}
ONLY_PLAIN = ("averaged",)  # the integrator of no other rule
ONLY_ON_DISPLACEMENTS = ("corrected",)


@dataclass(frozen=True)
class GoldenRun:
    """One digest's run."""

    row: str
    param: str
    grad: str
    state: str
    option: str

    @property
    def name(self) -> str:
        """Its key in golden.json."""
        return " / ".join((self.row, self.param, self.grad, self.state, self.option))


def options_of(row: str) -> list[str]:
    """The options that a row has steps for."""
    rule = RULES[RULE_ROWS[row][0]]
    options = set(OPTIONS) if rule.name == "plain" else set(OPTIONS) - set(ONLY_PLAIN)
    return [name for name in OPTIONS if name in options and (rule.site == "displacement" or name not in ONLY_ON_DISPLACEMENTS)]


def list_runs() -> Iterator[GoldenRun]:
    """Every run; a rule without state has one state type."""
    for row in ROWS:
        states = ("float32", "bfloat16") if RULE_ROWS[row][0] != "plain" else ("float32",)
        for param in DTYPES:
            for grad in DTYPES if row in MIXED else (param,):
                for state in states:
                    for option in options_of(row):
                        yield GoldenRun(row, param, grad, state, option)


def make_values(purpose: int, step: int) -> Tensor:
    """Exact binary32 values in (-1, 1)."""
    words = oracle.draw_halves(KEY, step, CHAIN, SIZE, purpose)
    return torch.from_numpy((words - 32767.5) / 32768).float()


def digest_run(run: GoldenRun, stepper: Callable[[Step, list[Job]], None]) -> str:
    """The digest of all parameters and states after each step."""
    rule, hypers = RULE_ROWS[run.row]
    multiplier, changes = OPTIONS[run.option]
    step = Step(rule, [settings(**hypers, **changes)], (multiplier,), CHAIN)
    states = [torch.zeros(SIZE, dtype=DTYPES[run.state]) for _ in RULES[rule].states]
    job = Job(make_values(100, 0).to(DTYPES[run.param]), torch.empty(0), states, KEY, OFFSET)
    digest = hashlib.sha256()
    for number in range(STEPS):
        job.grad = make_values(101, number).to(DTYPES[run.grad])
        stepper(step, [job])
        for tensor in (job.param, *job.states):
            digest.update(bits_of(tensor).numpy().tobytes())
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    """Compares or writes."""
    digests = {run.name: digest_run(run, step_reference) for run in list_runs()}
    if "--write" in arguments:
        FILE.write_text(json.dumps(digests, indent=1) + "\n")
        print(f"{len(digests)} digests written to {FILE.name}")
        return 0
    known = json.loads(FILE.read_text())
    different = [name for name in digests.keys() | known.keys() if digests.get(name) != known.get(name)]
    print("\n".join(sorted(different)) or f"all {len(digests)} digests are those of {FILE.name}")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
