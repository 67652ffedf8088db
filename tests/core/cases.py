"""The cases of the parity matrix, as data. A new rule is one row of RULE_ROWS; a new option is one value of FACTORS."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qlangevin import reference_rules

from .kernels import DTYPES, INTEGERS, Job, Step, settings

FULL = os.environ.get("QLANGEVIN_FULL") == "1"
CASES = 20_000 if FULL else 2_400
INFINITE = float("inf")

# A rule, and values of its own hyper-parameters.
RULE_ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("plain", {}),
    "momentum": ("momentum", {"momentum": 0.9}),
    "momentum nesterov dampened": ("momentum", {"momentum": 0.95, "dampening": 0.3, "nesterov": True}),
    "momentum 0": ("momentum", {"momentum": 0.0}),
    "cool momentum": ("cool_momentum", {"momentum": 0.9}),
    "sghmc": ("sghmc", {"friction": 0.1, "noise_estimate": 0.02}),
    "rmsprop": ("rmsprop", {"alpha": 0.99, "eps": 1e-6}),
    "rmsprop frozen": ("rmsprop", {"alpha": 0.9, "eps": 1e-8, "frozen_at": 1}),
    "adagrad": ("adagrad", {"lr_decay": 0.01, "eps": 1e-6}),
    "adam": ("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "momentum_in_drift": True}),
    "adam without momentum in the drift": ("adam", {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "epsilon_hat": True}),
    "adam frozen": ("adam", {"beta1": 0.5, "beta2": 0.95, "momentum_in_drift": True, "frozen_at": 2}),
    "adam amsgrad": ("adam_amsgrad", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "momentum_in_drift": True}),
    "adadelta": ("adadelta", {"rho": 0.9, "eps": 1e-6}),
    "adadelta frozen": ("adadelta", {"rho": 0.95, "eps": 1e-3, "frozen_at": 1}),
    "rmsprop centred": ("rmsprop_centered", {"alpha": 0.9, "eps": 1e-6}),
    "rmsprop centred frozen": ("rmsprop_centered", {"alpha": 0.5, "eps": 1e-3, "frozen_at": 1}),
    "rmsprop momentum": ("rmsprop_momentum", {"alpha": 0.99, "eps": 1e-6, "momentum": 0.9}),
    "rmsprop momentum frozen": ("rmsprop_momentum", {"alpha": 0.9, "eps": 1e-8, "momentum": 0.0, "frozen_at": 1}),
    "rmsprop centred momentum": ("rmsprop_centered_momentum", {"alpha": 0.95, "eps": 1e-4, "momentum": 0.9}),
    "rmsprop centred momentum frozen": ("rmsprop_centered_momentum", {"alpha": 0.9, "momentum": 0.5, "frozen_at": 1}),
}

FACTORS: dict[str, tuple[Any, ...]] = {
    "row": tuple(RULE_ROWS),
    "param": ("float32", "bfloat16", "float16"),
    "grad": ("float32", "bfloat16", "float16"),
    "state": ("float32", "bfloat16"),
    "noise": ("gaussian", "uniform", "rademacher", "averaged_gaussian", "averaged_uniform", "averaged_rademacher"),
    "grad_rounding": ("off", "nearest", "stochastic", "floor", "dither"),
    "update_rounding": ("off", "nearest", "stochastic", "floor", "dither"),
    "grad_resolution": (INFINITE, 64.0, 100.0),
    "update_resolution": (INFINITE, 1024.0, 1e4),
    "stochastic_param": (False, True),
    "stochastic_state": (False, True),
    "corrected_param": (False, False, True),
    "grad_blocks": (False, False, False, True),
    "lr": (0.0, 1e-3, 0.1),
    "temperature": (0.0, 1e-4, 1.0),
    "weight_decay": (0.0, 0.1),
    "decoupled_weight_decay": (0.0, 0.1),
    "multiplier": (1.0, -1.0, 0.37),
    "compensation": (0.0, 0.1, 1.5),
    "values": ("normal", "wide", "special", "subnormal", "zero"),
    "size": (1, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 257, 1000, 16384, 16389),
    "offset": (0, 1, 5, 8, 13, 64, 16383, 2**35 - 40, 2**35 + 3, 2**51 - 2**20),
    "steps": (0, 1, 12344, 2**32 - 3),
    "layout": ("one", "several"),
    "threads": (1, 2, 5),
}


@dataclass(frozen=True)
class Case:
    """One point of the matrix; everything else about it follows from its seed."""

    seed: int
    values: Mapping[str, Any]
    large: int = 5000  # elements of the largest of several tensors

    def __getitem__(self, factor: str) -> Any:
        return self.values[factor]

    @property
    def rule(self) -> str:
        """The rule's name."""
        return RULE_ROWS[self["row"]][0]

    def make_step(self) -> Step:
        """The step of its two groups; the second has settings of its own where the kernel may not assume them equal."""
        names = ("lr", "temperature", "weight_decay", "decoupled_weight_decay", "noise", "grad_rounding", "update_rounding")
        names += ("grad_resolution", "update_resolution", "stochastic_param", "stochastic_state", "corrected_param")
        names += ("grad_blocks",)
        first = settings(**{name: self[name] for name in names}, **RULE_ROWS[self["row"]][1])
        draw = random.Random(self.seed)
        other = {name: draw.choice(FACTORS[name]) for name in names}
        for one in (first, other):
            one["stochastic_param"] |= one["corrected_param"]  # as hyper.py has it
            one["grad_blocks"] &= one["grad_rounding"] != "off"
            if one["grad_blocks"]:
                one["grad_resolution"] = 2.0 ** draw.randint(1, 21)  # as quantizers.BlockGrid has it
            if self.rule != "plain":  # which alone has an integrator that averages
                one["noise"] = one["noise"].removeprefix("averaged_")
        return Step(self.rule, [first, first | other], (self["multiplier"], 1.0), draw.getrandbits(32))

    def make_jobs(self) -> list[Job]:
        """Its tensors with fresh values; gradients and parameters of one case always share their dtypes."""
        draw = random.Random(self.seed + 1)
        shapes = [(self["size"], self["offset"], self["steps"], 0)]
        if self["layout"] == "several":
            shapes += [(0, 0, 3, 0), (17, 2, 0, 1), (self.large, 40, self["steps"], 1), (0, 8, 0, 1), (9, 0, 7, 0), (1, 1, 1, 0)]
            draw.shuffle(shapes)
        return [self.make_job(draw, *shape) for shape in shapes]

    def make_job(self, draw: random.Random, size: int, offset: int, steps: int, group: int) -> Job:
        """One tensor."""
        states = len(reference_rules.RULES[self.rule].states)
        seeds = [draw.getrandbits(40) for _ in range(2 + states)]
        param, grad = (
            make_values(self["values"], size, self[name], seed) for name, seed in zip(("param", "grad"), seeds, strict=False)
        )
        state = [make_values(self["values"], size, self["state"], seed) for seed in seeds[2:]]
        noise = draw.random() < 0.9
        compensation = torch.tensor(self["compensation"] * draw.choice((0, 1, 1))).item()  # binary32; some tensors have none
        return Job(param, grad, state, draw.getrandbits(64), offset, noise, group, torch.tensor(steps), compensation)


SPECIALS = (
    0.0,
    -0.0,
    INFINITE,
    -INFINITE,
    float("nan"),
    1e-45,
    -1e-45,
    3e38,
    -3e38,
    65504.0,
    -65520.0,
    6e-8,
    2.0**-14,
    1.0,
    -0.5,
)


def make_values(kind: str, size: int, dtype: str, seed: int) -> Tensor:
    """Values of a kind; "special" holds random patterns of the dtype too, so every kind of NaN and subnormal."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(size, generator=generator)
    storage = DTYPES[dtype]
    if kind == "normal":
        return normal.to(storage)
    if kind == "wide":
        return (normal * 10.0 ** random.Random(seed).uniform(-8, 5)).to(storage)
    if kind == "subnormal":
        smallest = 2.0**-14 if dtype == "float16" else 2.0**-126
        return (normal * smallest * 0.5).to(storage)
    if kind == "zero":
        return torch.where(normal < 0, -0.0, 0.0).to(storage)
    width = storage.itemsize
    patterns = torch.randint(0, 1 << (8 * width), (size,), generator=generator)
    patterns = (patterns - ((patterns >> (8 * width - 1)) << (8 * width))).to(INTEGERS[width]).view(storage)
    special = torch.tensor(SPECIALS)[torch.randint(0, len(SPECIALS), (size,), generator=generator)].to(storage)
    choice = torch.randint(0, 3, (size,), generator=generator)
    return torch.where(choice == 0, patterns, torch.where(choice == 1, special, normal.to(storage)))


def all_pairs(factors: Mapping[str, tuple[Any, ...]], seed: int = 0) -> list[dict[str, Any]]:
    """Choices of one value a factor, such that every pair of values of two factors occurs: greedy, one choice after another."""
    draw = random.Random(seed)
    names = list(factors)
    pairs = {
        frozenset([(a, i), (b, k)])
        for a, b in itertools.combinations(names, 2)
        for i in range(len(factors[a]))
        for k in range(len(factors[b]))
    }
    rows: list[dict[str, Any]] = []
    open_pairs = dict.fromkeys(sorted(pairs, key=sorted))
    while open_pairs:
        chosen = dict(next(iter(open_pairs)))
        for name in draw.sample(names, len(names)):
            if name not in chosen:
                gains = [
                    sum(frozenset([(name, i), pair]) in open_pairs for pair in chosen.items()) for i in range(len(factors[name]))
                ]
                best = max(gains)
                chosen[name] = draw.choice([i for i, gain in enumerate(gains) if gain == best])
        for pair in itertools.combinations(chosen.items(), 2):
            open_pairs.pop(frozenset(pair), None)
        rows.append({name: factors[name][chosen[name]] for name in names})
    return rows


# The steps that kernels may have code of their own for: all that is usual is on, or nothing is.
USUAL: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 0.0, "stochastic_param": False, "stochastic_state": False, "update_rounding": "off"},
    "langevin": {"temperature": 1.0, "noise": "gaussian", "stochastic_param": True, "stochastic_state": True},
}


def list_cases(count: int = CASES) -> Iterator[Case]:
    """All pairs first, then random points, `count` in all; every second random one is a usual step, or nearly so."""
    rows = all_pairs(FACTORS)
    for seed, row in enumerate(rows):
        yield Case(1000 * seed, row)
    for seed in range(len(rows), count):
        draw = random.Random(seed)
        row = {name: draw.choice(values) for name, values in FACTORS.items()}
        if seed % 2 == 0:
            turn = seed // 2  # of rules and types, so that none waits for chance
            for name in ("row", "param", "state"):
                turn, at = divmod(turn, len(FACTORS[name]))
                row[name] = FACTORS[name][at]
            row |= USUAL[draw.choice(list(USUAL))] | {
                "grad": row["param"],
                "size": draw.choice((65, 257, 1000, 1023)),
                "grad_rounding": "off",
                "corrected_param": False,
                "lr": draw.choice((1e-3, 0.1)),
            }
            if seed % 4 == 0:  # one thing is different
                name = draw.choice(list(FACTORS))
                row[name] = draw.choice(FACTORS[name])
        yield Case(1000 * seed, row)
