"""What a run does with its weights, its data and its clock."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from qlangevin.demo.gpt import CONTEXT, build_gpt
from qlangevin.demo.images import ImageData
from qlangevin.demo.loop import LiveRun, count_bytes, digest_run, scale_lr, start_run, train_epoch_
from qlangevin.demo.residual_network import build_residual_network
from qlangevin.demo.runs import IMAGE_RUNS, TEXT_RUNS, Run, Settings, make_sgd
from qlangevin.demo.stored_weights import load_weights_, move_gradients_, store_weights
from qlangevin.demo.tasks import ImageTask, TextTask, cut_windows, measure_pixels, normalize


def train(run: Run, task: ImageTask | TextTask, settings: Settings, epochs: int | None = None) -> LiveRun:
    live = start_run(run, task, settings)
    for _ in range(settings.epochs if epochs is None else epochs):
        train_epoch_(live, lambda _: None)
    return live


def test_same_seed_gives_the_same_initial_weights_and_leaves_the_global_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, again, other = (build_residual_network((1, 8, 8), 10, seed) for seed in (5, 5, 6))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.stem.weight, again.stem.weight)
    assert not torch.equal(first.stem.weight, other.stem.weight)
    assert sum(param.numel() for param in first.parameters()) < 80_000


def test_stored_weights_are_rounded_copies_and_get_rounded_gradients() -> None:
    model = build_residual_network((1, 8, 8), 10, 0)
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


def test_every_run_sees_the_same_batches(tiny_images: ImageTask, settings: Settings) -> None:
    # With lr 0 nothing is learned: equal losses in a second epoch mean equal images in equal order.
    still = replace(settings, lr=0.0, weight_decay=0.0)
    twins = [train(Run(name, torch.float32, make_sgd), tiny_images, still, epochs=2) for name in ("a", "b")]
    assert twins[0].result.losses == twins[1].result.losses
    assert twins[0].result.losses[:2] != twins[0].result.losses[2:], "every epoch has its own order"
    assert twins[0].result.unmoved == [1.0, 1.0]
    fresh = start_run(IMAGE_RUNS[0], tiny_images, still)
    for (_, trained), (_, initial) in zip(twins[0].weights, fresh.weights, strict=True):
        assert torch.equal(trained, initial)
    assert digest_run(twins[0]) == digest_run(twins[1]) != digest_run(fresh), "batch norm has seen the images"


def test_every_epoch_and_seed_of_text_has_its_own_windows(tiny_text: TextTask, settings: Settings) -> None:
    def draw(epoch: int, seed: int) -> list[list[int]]:
        return [inputs.flatten().tolist() for inputs, _ in tiny_text.draw_batches(epoch, replace(settings, seed=seed))]

    assert draw(0, 1) == draw(0, 1) and len(draw(0, 1)) == settings.batches
    different = [*draw(0, 1), *draw(1, 1), *draw(0, 2)]
    assert len({tuple(windows) for windows in different}) == len(different)


def test_bf16_runs_compute_each_step_with_the_stored_weights(tiny_images: ImageTask, settings: Settings) -> None:
    losses = [torch.tensor(train(run, tiny_images, settings).result.losses) for run in IMAGE_RUNS[:2]]
    # bf16 costs 0.012 here; the loss itself falls by 0.7.
    assert losses[0][0] - losses[0][-1] > 0.3
    torch.testing.assert_close(losses[1], losses[0], rtol=0.0, atol=0.03)


def test_small_updates_are_lost_by_nearest_and_kept_by_fp32(tiny_images: ImageTask, settings: Settings) -> None:
    small = replace(settings, lr=1e-6, momentum=0.0, weight_decay=0.0)
    unmoved = [train(run, tiny_images, small, epochs=1).result.unmoved[0] for run in IMAGE_RUNS[:2]]
    assert unmoved[0] < 0.5 and unmoved[1] > 0.95


def test_unmoved_weights_are_those_of_the_last_epoch_alone(tiny_images: ImageTask, settings: Settings) -> None:
    live = train(IMAGE_RUNS[0], tiny_images, settings, epochs=1)
    live.optimizer.param_groups[0]["lr"] = 0.0
    live.scheduler.step = lambda *_: None  # type: ignore[method-assign]
    train_epoch_(live, lambda _: None)
    assert live.result.unmoved[0] < 0.1 and live.result.unmoved[1] == 1.0


def test_sgld_rows_store_four_bytes_keep_small_updates_and_differ_by_noise(tiny_images: ImageTask, settings: Settings) -> None:
    small = replace(settings, lr=1e-6, weight_decay=0.0, temperature=1.0)
    lives = [train(run, tiny_images, small, epochs=1) for run in IMAGE_RUNS[2:4]]
    for live in lives:
        assert live.result.bytes_per_param == 4.0
        assert live.result.unmoved[0] < 1.0 - 10 / 77_000
    assert lives[0].result.weights_digest != lives[1].result.weights_digest


def test_text_runs_are_one_formula_in_two_precisions(tiny_text: TextTask, settings: Settings) -> None:
    steps = replace(settings, epochs=2, batches=15, lr=3e-3)
    results = [train(run, tiny_text, steps).result for run in TEXT_RUNS]
    first = [result.losses[0] for result in results]
    assert first[0] == pytest.approx(first[1], rel=1e-3) and first[1] == first[2]
    assert first[0] == pytest.approx(math.log(256), abs=0.1)
    for result in results:
        assert result.scores[-1] < first[0] - 2.0, result.name
        assert result.scores[-1] == pytest.approx(results[0].scores[-1], abs=0.05)
    assert [result.bytes_per_param for result in results] == [12.0, 6.0, 6.0]


def test_small_updates_of_adamw_are_lost_by_nearest_and_kept_by_stochastic_rounding(
    tiny_text: TextTask, settings: Settings
) -> None:
    # Ten full steps of 1e-6 in one direction are below half a spacing of every weight above 0.01.
    small = replace(settings, batches=50, lr=1e-6, momentum=0.0, weight_decay=0.0)
    unmoved = {run.name: train(run, tiny_text, small, epochs=1).result.unmoved[0] for run in TEXT_RUNS}
    seen = 1.0 - unmoved["adamw-fp32"]  # bytes that never occur have no gradient
    assert seen > 0.6 and unmoved["adamw-bf16-nearest"] > 1.0 - 0.2 * seen
    assert unmoved["langevin-adamw-bf16-stochastic"] < unmoved["adamw-bf16-nearest"] - 0.2 * seen


def test_a_window_s_classes_are_its_next_bytes_and_the_validation_text_is_never_trained_on(tiny_text: TextTask) -> None:
    text = torch.arange(CONTEXT + 3, dtype=torch.uint8)
    inputs, classes = cut_windows(text, torch.tensor([0, 2]))
    assert inputs.tolist() == [list(range(CONTEXT)), list(range(2, CONTEXT + 2))]
    assert torch.equal(classes, inputs + 1)
    whole = torch.cat([tiny_text.data.train, tiny_text.data.validation])
    assert len(whole) == len(b"".join(b"%d, " % number for number in range(4100, 0, -1)))
    assert len(tiny_text.data.train) == len(whole) * 9 // 10


def test_the_model_does_not_see_the_bytes_to_come() -> None:
    model = build_gpt(0).eval()
    tokens = torch.randint(256, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % 256
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(after[:, :40], before[:, :40])
    assert not torch.allclose(after[:, 40:], before[:, 40:], atol=1e-3)
    assert sum(param.numel() for param in model.parameters()) == 119_424


def test_the_same_seed_gives_the_same_gpt_and_leaves_the_global_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, again, other = (build_gpt(seed).embedding.weight for seed in (5, 5, 6))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again) and not torch.equal(first, other)


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
    scale = measure_pixels(tiny_data.train_images)
    images = normalize(tiny_data.train_images, scale)
    assert images.dtype == torch.float32
    assert float(images.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(images.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


def test_a_black_channel_does_not_divide_by_zero(tiny_data: ImageData) -> None:
    black = replace(tiny_data, train_images=torch.zeros_like(tiny_data.train_images))
    assert torch.isfinite(normalize(black.train_images, measure_pixels(black.train_images))).all()
