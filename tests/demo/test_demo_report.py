"""Table, floors, curves and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from qlangevin.demo.images import CIFAR10, DIGITS, FASHION_MNIST
from qlangevin.demo.loop import RunResult
from qlangevin.demo.picture import Curves, draw_curves, smooth_losses
from qlangevin.demo.report import FLOORS, check_floors, format_table, result_to_json, write_json
from qlangevin.demo.studies import RUNS
from qlangevin.demo.tasks import ACCURACY, VALIDATION_LOSS
from qlangevin.demo.text import STANDARD_LIBRARY

FP32, STOCHASTIC = "sgd-fp32", "sgld-bf16-stochastic"


def make_result(name: str, score: float, seed: int = 0) -> RunResult:
    losses = [2.0, 1.0, 0.5, 0.25]
    return RunResult(name, seed, losses, [0.1, score], [0.5, 0.125], [0.3, 0.1, 9.0, 0.2], 4.0, "abc")


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
    lines, holds = check_floors(FASHION_MNIST, ACCURACY, results)
    assert holds is passed
    assert any("FLOOR FAILED" in line for line in lines) is not passed


@pytest.mark.parametrize(("stochastic", "passed"), [(2.314, True), (2.316, False), (2.0, True), (math.nan, False)])
def test_floors_of_a_loss_are_ceilings_of_the_seeds_mean(stochastic: float, passed: bool) -> None:
    results = [make_result("adamw-fp32", 2.3 + 0.1 * (seed - 1), seed) for seed in range(3)]
    results += [make_result("langevin-adamw-bf16-stochastic", stochastic + 0.2 * (seed - 1), seed) for seed in range(3)]
    lines, holds = check_floors(STANDARD_LIBRARY, VALIDATION_LOSS, results)
    assert holds is passed
    assert lines[0] == "floor holds: adamw-fp32 2.3000 nats/byte <= 2.6000 nats/byte"
    assert lines[1].endswith("<= 2.3150 nats/byte, 0.015 nats/byte from adamw-fp32")


def test_data_of_one_s_own_has_no_floors() -> None:
    assert check_floors("story.txt", VALIDATION_LOSS, [make_result("adamw-fp32", 9.0)]) == ([], True)


def test_a_failed_floor_says_which_and_by_how_much() -> None:
    lines, _ = check_floors(FASHION_MNIST, ACCURACY, [make_result(FP32, 0.90), make_result(STOCHASTIC, 0.88)])
    assert lines[0] == "floor holds: sgd-fp32 90.00 % >= 85.00 %"
    assert lines[1].startswith("FLOOR FAILED: sgld-bf16-stochastic 88.00 % >= 89.00 %, 1 points from sgd-fp32")


def test_a_floor_whose_run_is_absent_is_said_to_be_unchecked() -> None:
    lines, passed = check_floors(FASHION_MNIST, ACCURACY, [make_result(FP32, 0.9)])
    assert passed and lines[1] == f"floor not checked: {STOCHASTIC} (needs the run {STOCHASTIC})"


def test_every_data_set_has_floors_about_runs_that_exist() -> None:
    names = {run.name for run in RUNS}
    assert set(FLOORS) == {FASHION_MNIST, CIFAR10, DIGITS, STANDARD_LIBRARY}
    for floors in FLOORS.values():
        assert floors and all({floor.run, floor.below or floor.run} <= names for floor in floors)


def test_table_holds_the_last_epoch_and_the_median() -> None:
    lines = format_table(ACCURACY, [make_result(FP32, 0.9123), make_result(STOCHASTIC, 0.5)]).split("\n")
    assert lines[0].split("  ")[0].strip() == "run" and "test accuracy (%)" in lines[0] and "bytes/param" in lines[0]
    # Loss: mean of the last two of four steps; ms: median of 0.1, 0.2, 0.3, 9.
    assert lines[2].split() == [FP32, "91.23", "0.3750", "12.5", "%", "4.00", "0.250"]
    assert lines[3].split() == [STOCHASTIC, "50.00", "-41.23", "0.3750", "12.5", "%", "4.00", "0.250"]
    assert len({len(line) for line in lines[:4]}) == 1


def test_table_of_several_seeds_holds_means_deviations_and_paired_differences() -> None:
    pairs = [(2.0, 2.11), (2.2, 2.31), (2.4, 2.51)]  # far apart from seed to seed, always 0.11 from each other
    results = [make_result(name, score, seed) for seed, pair in enumerate(pairs) for name, score in zip("ab", pair, strict=True)]
    lines = format_table(VALIDATION_LOSS, results).split("\n")
    assert lines[2].split()[:4] == ["a", "2.2000", "+-", "0.2000"]
    assert lines[3].split()[:7] == ["b", "2.3100", "+-", "0.2000", "+0.1100", "+-", "0.0000"]
    assert "of 3 seeds" in lines[4]


def test_smoothing_is_the_mean_of_full_windows() -> None:
    assert smooth_losses([1.0, 2.0, 3.0, 5.0], 2) == [1.5, 2.5, 4.0]
    assert smooth_losses([1.0], 2) == []


@pytest.mark.parametrize("end", ["png", "svg"])
def test_curves_are_drawn_with_labels_units_and_legend(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"demo.{end}"
    images = [make_result(run.name, 0.9) for run in RUNS] + [make_result(f"more-{at}", 0.8) for at in range(5)]
    text = [make_result(name, 2.0, seed) for seed in range(2) for name in ("adamw-fp32", "other")]
    draw_curves([Curves(DIGITS, ACCURACY, 2, images), Curves("story", VALIDATION_LOSS, 2, text)], path)
    content = path.read_bytes()
    if end == "png":
        assert content.startswith(b"\x89PNG") and len(content) > 10_000
    else:
        drawn = content.decode()
        for words in (
            "training loss (nats, mean of 1 steps)",
            "test accuracy after the epoch (%)",
            "validation loss after the epoch (nats/byte)",
            "story: same initial weights, same mini-batches; mean of 2 seeds",
            FP32,
            STOCHASTIC,
        ):
            assert f"<!-- {words} -->" in drawn


def test_json_is_standard_json_even_after_a_divergence(tmp_path: Path) -> None:
    result = make_result(FP32, 0.5, seed=7)
    result.losses[1] = result.scores[0] = math.nan
    images = {"config": {"epochs": 2}, "runs": [result_to_json(ACCURACY, result)]}
    write_json(tmp_path / "demo.json", {"images": images})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads((tmp_path / "demo.json").read_text(), parse_constant=refuse)
    assert found["images"]["config"] == {"epochs": 2} and "torch" in found["versions"]
    (run,) = found["images"]["runs"]
    assert run["loss"] == [2.0, None, 0.5, 0.25] and run["test_accuracy"] == [None, 0.5] and run["seed"] == 7
    assert run["weights_digest"] == "abc" and run["optimizer_ms_median"] == 0.25 and run["unmoved"] == [0.5, 0.125]
