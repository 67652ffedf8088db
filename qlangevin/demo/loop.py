"""Train one run: its live state, one epoch of it, and what is measured on the way."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from qlangevin.demo.data import NUM_CLASSES, ImageData
from qlangevin.demo.model import (
    NamedParameters,
    ResidualNetwork,
    build_model,
    load_weights_,
    move_gradients_,
    store_weights,
)
from qlangevin.demo.runs import Run, Settings

_TEST_BATCH = 1000


@dataclass
class RunResult:
    """What a run has shown so far.

    Args:
        name: of the run.
        losses: training loss of each step, nats.
        accuracies: test accuracy after each epoch, in [0, 1].
        step_ms: wall time of each optimizer.step(), ms.
        bytes_per_param: stored weights and optimizer states, bytes per parameter.
        weights_digest: fingerprint of stored weights and batch norm statistics: equal digests are equal bits.
    """

    name: str
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    step_ms: list[float] = field(default_factory=list)
    bytes_per_param: float = 0.0
    weights_digest: str = ""


@dataclass
class LiveRun:
    """A run in progress; `epoch` counts the finished epochs."""

    run: Run
    model: ResidualNetwork
    weights: NamedParameters
    optimizer: Optimizer
    scheduler: LRScheduler
    result: RunResult
    epoch: int = 0


def scale_lr(step: int, total: int) -> float:
    """Return the schedule's factor in [0, 1]: linear for a fifth of the steps, then half a cosine down."""
    warmup = max(1, total // 5)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, total - warmup))


def start_run(run: Run, data: ImageData, settings: Settings) -> LiveRun:
    """Build the model, the stored weights, the optimizer and the schedule of a run at step 0."""
    model = build_model(data.train_images.shape[1:], NUM_CLASSES, settings.seed)
    weights = store_weights(model, run.param_dtype)
    optimizer = run.make_optimizer(weights, settings)
    total = settings.batches * settings.epochs
    # At both ends of the schedule updates fall below half a bf16 spacing, and rounding to nearest loses them.
    scheduler = LambdaLR(optimizer, lambda step: 1.0 if run.constant_lr else scale_lr(step, total))
    return LiveRun(run, model, weights, optimizer, scheduler, RunResult(run.name))


def train_epoch_(live: LiveRun, data: ImageData, settings: Settings, advance: Callable[[float], None]) -> None:
    """Train one epoch in place and measure the test accuracy after it.

    Args:
        live: the run, changed in place.
        data: images and labels.
        settings: batch size and seed.
        advance: called after each step with its training loss.
    """
    # Seeded by the epoch, not drawn from a running generator: every run, resumed or not, sees the same order.
    generator = torch.Generator().manual_seed(settings.seed + 1_000_003 * (live.epoch + 1))
    order = torch.randperm(len(data.train_labels), generator=generator)
    scale = measure_pixels(data)
    live.model.train()
    for step in range(settings.batches):
        batch = order[step * settings.batch_size : (step + 1) * settings.batch_size]
        loss = _take_step(live, normalize(data.train_images[batch], scale), data.train_labels[batch])
        advance(loss)
    load_weights_(live.model, live.weights)
    live.epoch += 1
    live.result.accuracies.append(measure_accuracy(live.model, data, scale))
    live.result.bytes_per_param = count_bytes(live.weights, live.optimizer)
    live.result.weights_digest = digest_run(live)


def _take_step(live: LiveRun, images: Tensor, labels: Tensor) -> float:
    load_weights_(live.model, live.weights)
    loss = F.cross_entropy(live.model(images), labels)
    live.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    move_gradients_(live.model, live.weights)
    start = time.perf_counter()
    live.optimizer.step()
    live.result.step_ms.append(1e3 * (time.perf_counter() - start))
    live.scheduler.step()
    live.result.losses.append(loss.item())
    return live.result.losses[-1]


def measure_pixels(data: ImageData) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel of the training images, (C, 1, 1) fp32."""
    channels = data.train_images.shape[1]
    counts = [torch.bincount(data.train_images[:, c].flatten(), minlength=256).double() for c in range(channels)]
    values = torch.arange(256, dtype=torch.float64)
    means = torch.stack([(count * values).sum() / count.sum() for count in counts])
    squares = torch.stack([(count * values**2).sum() / count.sum() for count in counts])
    deviations = (squares - means**2).clamp(min=1e-4).sqrt()
    return means.float().reshape(-1, 1, 1), deviations.float().reshape(-1, 1, 1)


def normalize(images: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    """Widen (N, C, H, W) uint8 images to fp32 of mean 0 and variance 1, in the channels-last layout."""
    mean, deviation = scale
    return images.float().sub_(mean).div_(deviation).contiguous(memory_format=torch.channels_last)


def measure_accuracy(model: ResidualNetwork, data: ImageData, scale: tuple[Tensor, Tensor]) -> float:
    """Return the fraction of test images that the model labels correctly."""
    model.eval()
    correct = 0
    with torch.no_grad():
        for start in range(0, len(data.test_labels), _TEST_BATCH):
            images = normalize(data.test_images[start : start + _TEST_BATCH], scale)
            labels = data.test_labels[start : start + _TEST_BATCH]
            correct += int((model(images).argmax(dim=1) == labels).sum())
    return correct / len(data.test_labels)


def count_bytes(weights: NamedParameters, optimizer: Optimizer) -> float:
    """Return the bytes per parameter of stored weights and optimizer states, without the step counters."""
    params = [param for _, param in weights]
    states = [value for state in optimizer.state.values() for value in state.values()]
    held: list[Tensor] = [
        *params,
        *(value for value in states if isinstance(value, Tensor) and value.dim() > 0),
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in held) / sum(param.numel() for param in params)


def digest_run(live: LiveRun) -> str:
    """Return a fingerprint of the bits of the stored weights and of the batch norms' statistics."""
    state = hashlib.sha256()
    for name, tensor in [*live.weights, *live.model.named_buffers()]:
        state.update(name.encode())
        state.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def capture_run(live: LiveRun) -> dict[str, Any]:
    """Return everything that `restore_run_` needs, in types that torch.load(weights_only=True) accepts."""
    return {
        "name": live.run.name,
        "epoch": live.epoch,
        "model": live.model.state_dict(),
        "weights": {name: param.detach() for name, param in live.weights},
        "optimizer": live.optimizer.state_dict(),
        "scheduler": live.scheduler.state_dict(),
        "result": asdict(live.result),
    }


def restore_run_(live: LiveRun, state: dict[str, Any]) -> None:
    """Put a run just started where `capture_run` left it."""
    live.model.load_state_dict(state["model"])
    with torch.no_grad():
        for name, param in live.weights:
            param.copy_(state["weights"][name])
    live.optimizer.load_state_dict(state["optimizer"])
    live.scheduler.load_state_dict(state["scheduler"])
    live.result = RunResult(**state["result"])
    live.epoch = int(state["epoch"])
