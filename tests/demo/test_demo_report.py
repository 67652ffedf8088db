"""Table, floors, curves and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from qlangevin.demo.data import CIFAR10, DIGITS, FASHION_MNIST
from qlangevin.demo.loop import RunResult
from qlangevin.demo.report import (
    FLOORS,
    check_floors,
    draw_curves,
    format_table,
    smooth_losses,
    write_json,
)
from qlangevin.demo.runs import RUNS

FP32, STOCHASTIC = "sgd-fp32", "sgld-bf16-stochastic"


def make_result(name: str, accuracy: float) -> RunResult:
    losses = [2.0, 1.0, 0.5, 0.25]
    return RunResult(name, losses, [0.1, accuracy], [0.3, 0.1, 9.0, 0.2], 4.0, "abc")


@pytest.mark.parametrize(
    ("fp32", "stochastic", "passed"),
    [
        (0.85, 0.84, True),
        (0.8499, 0.86, False),
        (0.90, 0.8899, False),
        (0.90, 0.89, True),
        (0.90, 0.95, True),
        (0.10, 0.10, False),
    ],
)
def test_floors_of_fashion_mnist(fp32: float, stochastic: float, passed: bool) -> None:
    results = [make_result(FP32, fp32), make_result(STOCHASTIC, stochastic)]
    lines, holds = check_floors(FASHION_MNIST, results)
    assert holds is passed
    assert any("FLOOR FAILED" in line for line in lines) is not passed


def test_a_failed_floor_says_which_and_by_how_much() -> None:
    lines, _ = check_floors(FASHION_MNIST, [make_result(FP32, 0.90), make_result(STOCHASTIC, 0.88)])
    assert lines[0] == "floor holds: sgd-fp32 90.00 % >= 85.00 %"
    assert lines[1].startswith("FLOOR FAILED: sgld-bf16-stochastic 88.00 % >= 89.00 %, 1 points below sgd-fp32")


def test_a_floor_whose_run_is_absent_is_said_to_be_unchecked() -> None:
    lines, passed = check_floors(FASHION_MNIST, [make_result(FP32, 0.9)])
    assert passed and lines[1] == f"floor not checked: {STOCHASTIC} (needs the run {STOCHASTIC})"


def test_every_data_set_has_floors_about_runs_that_exist() -> None:
    names = {run.name for run in RUNS}
    assert set(FLOORS) == {FASHION_MNIST, CIFAR10, DIGITS}
    for floors in FLOORS.values():
        assert floors and all({floor.run, floor.below or floor.run} <= names for floor in floors)


def test_table_holds_the_last_epoch_and_the_median() -> None:
    lines = format_table([make_result(FP32, 0.9123), make_result(STOCHASTIC, 0.5)]).split("\n")
    assert lines[0].split("  ")[0].strip() == "run" and "bytes/param" in lines[0]
    # Loss: mean of the last two of four steps; ms: median of 0.1, 0.2, 0.3, 9.
    assert lines[2].split() == [FP32, "91.23", "%", "0.3750", "4.00", "0.250"]
    assert lines[3].split()[0] == STOCHASTIC
    assert len({len(line) for line in lines[:4]}) == 1


def test_smoothing_is_the_mean_of_full_windows() -> None:
    assert smooth_losses([1.0, 2.0, 3.0, 5.0], 2) == [1.5, 2.5, 4.0]
    assert smooth_losses([1.0], 2) == []


@pytest.mark.parametrize("end", ["png", "svg"])
def test_curves_are_drawn_with_labels_units_and_legend(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"demo.{end}"
    results = [make_result(run.name, 0.9) for run in RUNS] + [make_result(f"more-{at}", 0.8) for at in range(5)]
    draw_curves(results, DIGITS, 2, path)
    content = path.read_bytes()
    if end == "png":
        assert content.startswith(b"\x89PNG") and len(content) > 10_000
    else:
        text = content.decode()
        for words in (
            "training loss (nats, mean of 1 steps)",
            "test accuracy after the epoch (%)",
            FP32,
            STOCHASTIC,
        ):
            assert f"<!-- {words} -->" in text


def test_json_is_standard_json_even_after_a_divergence(tmp_path: Path) -> None:
    result = make_result(FP32, 0.5)
    result.losses[1] = math.nan
    write_json(tmp_path / "demo.json", [result], {"epochs": 2})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads((tmp_path / "demo.json").read_text(), parse_constant=refuse)
    assert found["config"] == {"epochs": 2} and "torch" in found["versions"]
    assert found["runs"][0]["loss"] == [2.0, None, 0.5, 0.25]
    assert found["runs"][0]["weights_digest"] == "abc" and found["runs"][0]["optimizer_ms_median"] == 0.25
