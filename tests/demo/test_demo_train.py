"""Arguments, exit codes, and what a run does with its weights."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qlangevin.demo import report, train
from qlangevin.demo.data import DIGITS, ImageData
from qlangevin.demo.loop import (
    count_bytes,
    digest_run,
    measure_pixels,
    normalize,
    scale_lr,
    start_run,
    train_epoch_,
)
from qlangevin.demo.model import build_model, load_weights_, move_gradients_, store_weights
from qlangevin.demo.report import Floor
from qlangevin.demo.runs import RUNS, Run, Settings, make_sgd

Parse = Callable[[Sequence[str]], argparse.Namespace]
TINY = ["--limit", "64", "--epochs", "1", "--batch-size", "32"]
TORCH_ONLY = ["--runs", "sgd-fp32", "sgd-bf16-nearest"]


def ignore(_: float) -> None:
    pass


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (["--epochs", "0"], "0 is not in"),
        (["--epochs", "x"], "'x' is not an integer"),
        (["--batch-size", "1"], "1 is not in"),
        (["--limit", "-5"], "-5 is not in"),
        (["--seed", "-1"], "-1 is not in"),
        (["--runs", "adam"], "invalid choice: 'adam'"),
        (["--out", "picture.doc"], "does not end in .png"),
        (["--out", "no/such/folder/a.png"], "is not a folder"),
        (["--json", "."], "is a folder"),
        (["--checkpoint", "no/such/folder/a.pt"], "is not a folder"),
    ],
)
def test_wrong_arguments_are_named(parse: Parse, capsys: pytest.CaptureFixture[str], line: list[str], cause: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(line)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert cause in error and line[0] in error


def test_defaults(parse: Parse) -> None:
    args = parse([])
    assert args.runs == [run.name for run in RUNS] and args.out == Path("demo.png")
    assert args.epochs is None and args.checkpoint is None and not args.no_floors


def test_run_writes_its_report_and_restores_the_threads(
    parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(2)
    assert train.run(parse([*TINY, *TORCH_ONLY, "--json", "demo.json", "--no-floors"])) == 0
    assert torch.get_num_threads() == 2
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    output = capsys.readouterr().out
    assert output.startswith("digits: 64 training and 297 test images of 1 x 8 x 8\n")
    assert "sgd-bf16-nearest" in output and "sgld" not in output
    found = json.loads((tmp_path / "demo.json").read_text())
    assert [run["bytes_per_param"] for run in found["runs"]] == [8.0, 4.0]
    assert [len(run["loss"]) for run in found["runs"]] == [2, 2]


def test_failed_floor_is_exit_code_1(
    parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [*TINY, "--runs", "sgd-fp32", "--out", str(tmp_path / "demo.png")]
    monkeypatch.setattr(report, "FLOORS", {DIGITS: (Floor("sgd-fp32", 1.01),)})
    assert train.run(parse(line)) == 1
    assert "FLOOR FAILED: sgd-fp32" in capsys.readouterr().out
    assert train.run(parse([*line, "--no-floors"])) == 0
    monkeypatch.setattr(report, "FLOORS", {DIGITS: (Floor("sgd-fp32", 0.0),)})
    assert train.run(parse(line)) == 0


def test_unusable_data_or_checkpoint_is_exit_code_2_before_anything_is_written(
    parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo.png"
    out.write_text("old")
    checkpoint = tmp_path / "demo.pt"
    checkpoint.write_text("no checkpoint")
    for line, cause in (
        (["--data-dir", str(tmp_path)], f"--data-dir {tmp_path} holds neither"),
        (["--limit", "10"], "10 training images are less than one batch of 64"),
        (["--checkpoint", str(checkpoint)], f"checkpoint {checkpoint} is truncated or corrupt"),
    ):
        assert train.run(parse([*line, "--out", str(out)])) == 2
        assert capsys.readouterr().err.startswith("error: " + cause)
    assert out.read_text() == "old" and checkpoint.read_text() == "no checkpoint"


def test_missing_package_is_exit_code_2(
    parse: Parse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert train.run(parse(TINY)) == 2
    assert capsys.readouterr().err == "error: missing tqdm: pip install 'qlangevin[demo]'\n"


def test_importing_the_demo_imports_no_extra() -> None:
    # torch imports tqdm where it is installed, so the comparison starts after torch.
    code = (
        "import sys, torch; before = set(sys.modules); import qlangevin.demo.train; "
        "print([n for n in ('tqdm', 'matplotlib', 'sklearn') if n in set(sys.modules) - before])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_same_seed_gives_the_same_initial_weights_and_leaves_the_global_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, again, other = (build_model((1, 8, 8), 10, seed) for seed in (5, 5, 6))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.stem.weight, again.stem.weight)
    assert not torch.equal(first.stem.weight, other.stem.weight)
    assert sum(param.numel() for param in first.parameters()) < 80_000


def test_stored_weights_are_rounded_copies_and_get_rounded_gradients() -> None:
    model = build_model((1, 8, 8), 10, 0)
    original = model.head.weight.detach().clone()
    stored = store_weights(model, torch.bfloat16)
    load_weights_(model, stored)
    assert torch.equal(model.head.weight, original.bfloat16().float())
    assert all(param.dtype == torch.float32 for param in model.parameters())
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    gradient = model.head.weight.grad
    move_gradients_(model, stored)
    assert gradient is not None and model.head.weight.grad is None
    moved = dict(stored)["head.weight"].grad
    assert moved is not None and torch.equal(moved, gradient.bfloat16())
    own = store_weights(model, torch.float32)
    assert all(param is kept for param, (_, kept) in zip(model.parameters(), own, strict=True))


def test_every_run_sees_the_same_batches(tiny_data: ImageData, settings: Settings) -> None:
    # With lr 0 nothing is learned: equal losses in a second epoch mean equal images in equal order.
    still = replace(settings, lr=0.0, weight_decay=0.0)
    twins = [start_run(Run(name, torch.float32, make_sgd), tiny_data, still) for name in ("a", "b")]
    for _ in range(2):
        for live in twins:
            train_epoch_(live, tiny_data, still, ignore)
    assert twins[0].result.losses == twins[1].result.losses
    assert twins[0].result.losses[:2] != twins[0].result.losses[2:], "every epoch has its own order"
    fresh = start_run(RUNS[0], tiny_data, still)
    for (_, trained), (_, initial) in zip(twins[0].weights, fresh.weights, strict=True):
        assert torch.equal(trained, initial)
    assert digest_run(twins[0]) == digest_run(twins[1]) != digest_run(fresh), "batch norm has seen the images"


def test_bf16_runs_compute_each_step_with_the_stored_weights(tiny_data: ImageData, settings: Settings) -> None:
    losses = []
    for run in RUNS[:2]:
        live = start_run(run, tiny_data, settings)
        for _ in range(settings.epochs):
            train_epoch_(live, tiny_data, settings, ignore)
        losses.append(torch.tensor(live.result.losses))
    # bf16 costs 0.012 here; the loss itself falls by 0.7.
    assert losses[0][0] - losses[0][-1] > 0.3
    torch.testing.assert_close(losses[1], losses[0], rtol=0.0, atol=0.03)


def test_small_updates_are_lost_by_nearest_and_kept_by_fp32(tiny_data: ImageData, settings: Settings) -> None:
    small = replace(settings, lr=1e-6, momentum=0.0, weight_decay=0.0)
    changed = []
    for run in RUNS[:2]:
        live = start_run(run, tiny_data, small)
        before = dict(live.weights)["block3.conv2.weight"].detach().clone()
        train_epoch_(live, tiny_data, small, ignore)
        after = dict(live.weights)["block3.conv2.weight"].detach()
        changed.append(float((before != after).float().mean()))
    assert changed[0] > 0.5 and changed[1] < 0.05


def test_sgld_rows_store_four_bytes_keep_small_updates_and_differ_by_noise(tiny_data: ImageData, settings: Settings) -> None:
    small = replace(settings, lr=1e-6, weight_decay=0.0, temperature=1.0)
    digests = set()
    for run in RUNS[2:4]:
        live = start_run(run, tiny_data, small)
        before = {name: param.detach().double() for name, param in live.weights}
        train_epoch_(live, tiny_data, small, ignore)
        assert live.result.bytes_per_param == 4.0
        moved = sum(int((before[name] != param.detach().double()).sum()) for name, param in live.weights)
        assert moved > 10
        digests.add(live.result.weights_digest)
    assert len(digests) == 2


def test_bytes_are_those_of_the_tensors_without_step_counters() -> None:
    weights = [("w", torch.nn.Parameter(torch.ones(10, dtype=torch.bfloat16)))]
    optimizer = torch.optim.Adam(weights, lr=0.1)
    assert count_bytes(weights, optimizer) == 2.0
    weights[0][1].grad = torch.ones(10, dtype=torch.bfloat16)
    optimizer.step()
    assert optimizer.state[weights[0][1]]["step"].dim() == 0
    assert count_bytes(weights, optimizer) == 6.0


@pytest.mark.parametrize("total", [1, 2, 5, 100])
def test_schedule_rises_to_1_and_falls_without_touching_0_before_the_end(total: int) -> None:
    factors = [scale_lr(step, total) for step in range(total)]
    assert max(factors) == 1.0 and min(factors) > 0.0
    top = factors.index(1.0)
    assert factors[:top] == sorted(factors[:top]) and factors[top:] == sorted(factors[top:], reverse=True)
    if total > 2:
        assert scale_lr(total, total) == pytest.approx(0.0, abs=1e-15)


def test_pixels_are_normalized_by_the_training_images(tiny_data: ImageData) -> None:
    scale = measure_pixels(tiny_data)
    images = normalize(tiny_data.train_images, scale)
    assert images.dtype == torch.float32
    assert float(images.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(images.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


def test_a_black_channel_does_not_divide_by_zero(tiny_data: ImageData) -> None:
    black = replace(tiny_data, train_images=torch.zeros_like(tiny_data.train_images))
    assert torch.isfinite(normalize(black.train_images, measure_pixels(black))).all()
