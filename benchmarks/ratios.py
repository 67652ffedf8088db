"""Measures what the goals need as `python -m qlangevin bench` does and prints ratios and goals; --json FILE keeps all figures.

Usage: python -m benchmarks.ratios [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from qlangevin.bench.admission import admit
from qlangevin.bench.cases import CASES
from qlangevin.bench.machine import describe_machine
from qlangevin.bench.measure import Figures, Settings, measure_list
from qlangevin.bench.report import Report, format_list, to_json
from qlangevin.bench.shapes import LISTS

# (list, case, other case, the ratio of their times is at most this)
RATIOS = (
    ("large", "SGLD momentum", "torch SGD fused", 1.1),
    ("large", "SGLD noise", "eager Langevin loop", 1 / 4),
    ("large", "SGLD noise bf16 SR", "eager Langevin loop bf16", 1 / 8),
    ("large", "SGLD momentum + noise + nearest grid", "SGLD momentum", 2.0),
    ("large", "SGLD momentum + noise + stochastic grid", "SGLD momentum", 2.0),
    ("large", "SGLD momentum + noise + nearest grid bf16 SR", "SGLD momentum bf16", 3.5),
    ("large", "SGLD momentum + noise + stochastic grid bf16 SR", "SGLD momentum bf16", 3.5),
    ("many-small", "SGLD momentum", "torch SGD fused", 1 / 3),
    ("large", "CoolMomentum", "SGLD momentum", 1.1),
    ("large", "QuantizedSGD momentum", "SGLD momentum", 1.1),
    ("large", "SGLD momentum + metrics", "SGLD momentum", 1.1),
)
# (list, case, figure, at most this)
LIMITS = (
    ("many-small", "SGLD momentum", "host_us_per_tensor", 1.0),
    ("one-huge", "SGLD momentum + noise + nearest grid", "temporaries_mb", 8.0),
)


def check_goals(figures: dict[tuple[str, str], Figures]) -> list[dict[str, Any]]:
    """Every goal with the value reached; None where a case was not measured."""
    goals: list[dict[str, Any]] = []
    for name, case, other, goal in RATIOS:
        ours, theirs = figures.get((name, case)), figures.get((name, other))
        value = ours.ms.median / theirs.ms.median if ours and theirs else None
        goals.append({"list": name, "case": case, "figure": f"ms / {other}", "value": value, "goal": goal})
    for name, case, figure, goal in LIMITS:
        ours = figures.get((name, case))
        goals.append({"list": name, "case": case, "figure": figure, "value": ours and getattr(ours, figure), "goal": goal})
    return goals


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    settings = Settings(torch.device("cpu"), rounds=arguments.rounds)
    report = Report(describe_machine(settings.device))
    admission = admit([case for case in CASES if case.needs is None], settings.device)
    if admission.left_out:
        raise SystemExit(f"nothing is timed: {admission.left_out[0].why}")
    for name in dict.fromkeys(goal[0] for goal in (*RATIOS, *LIMITS)):
        named = {part for goal in (*RATIOS, *LIMITS) if goal[0] == name for part in goal[1:3]}
        # All cases of a list alternate, as in every other run; of the one huge tensor only what the goals name.
        cases = [case for case in admission.cases if name != "one-huge" or case.name in named]
        report.lists.append(measure_list(LISTS[name], cases, settings))
        print("\n" + format_list(report.lists[-1]), flush=True)
    report.complete = True
    figures = {(result.tensors.name, found.case.name): found for result in report.lists for found in result.figures}
    goals = check_goals(figures)
    print("\nvalue, goal")
    for goal in goals:
        value, limit = goal["value"], goal["goal"]
        word = "not measured" if value is None else f"{'met ' if value <= limit else 'OVER'} {value:6.3f}"
        print(f"  {word} <= {limit:.3f}  {goal['list']}: {goal['case']}: {goal['figure']}")
    if arguments.json:
        arguments.json.write_text(json.dumps({**to_json(report), "goals": goals}, indent=1) + "\n")


if __name__ == "__main__":
    main()
