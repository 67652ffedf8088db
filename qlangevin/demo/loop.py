"""Train one run: its live state, one epoch of it, and what is measured on the way."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from qlangevin.demo.runs import Run, Settings
from qlangevin.demo.stored_weights import NamedParameters, load_weights_, move_gradients_, store_weights
from qlangevin.demo.tasks import Task, cross_entropy


@dataclass
class RunResult:
    """What a run has shown so far.

    Args:
        name: of the run.
        seed: of the run.
        losses: training loss of each step, nats.
        scores: the task's score after each epoch.
        unmoved: of each epoch, the share of the stored weights that it left as they were.
        step_ms: wall time of each optimizer.step(), ms.
        bytes_per_param: stored weights and optimizer states, bytes per parameter.
        weights_digest: fingerprint of stored weights and batch norm statistics: equal digests are equal bits.
    """

    name: str
    seed: int = 0
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    unmoved: list[float] = field(default_factory=list)
    step_ms: list[float] = field(default_factory=list)
    bytes_per_param: float = 0.0
    weights_digest: str = ""


@dataclass
class LiveRun:
    """A run in progress; `epoch` counts the finished epochs."""

    run: Run
    task: Task
    settings: Settings
    model: nn.Module
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


def start_run(run: Run, task: Task, settings: Settings) -> LiveRun:
    """Build the model, the stored weights, the optimizer and the schedule of a run at step 0."""
    model = task.build_model(settings.seed)
    weights = store_weights(model, run.param_dtype)
    optimizer = run.make_optimizer(weights, settings)
    total = settings.batches * settings.epochs
    # At both ends of the schedule updates fall below half a bf16 spacing, and rounding to nearest loses them.
    scheduler = LambdaLR(optimizer, lambda step: 1.0 if run.constant_lr else scale_lr(step, total))
    result = RunResult(run.name, settings.seed)
    return LiveRun(run, task, settings, model, weights, optimizer, scheduler, result)


def train_epoch_(live: LiveRun, advance: Callable[[float], None]) -> None:
    """Train one epoch in place and measure the score after it.

    Args:
        live: the run, changed in place.
        advance: called after each step with its training loss.
    """
    before = [param.detach().clone() for _, param in live.weights]
    live.model.train()
    for inputs, classes in live.task.draw_batches(live.epoch, live.settings):
        advance(_take_step(live, inputs, classes))
    load_weights_(live.model, live.weights)
    live.model.eval()
    live.epoch += 1
    with torch.no_grad():
        live.result.scores.append(live.task.measure(live.model))
    live.result.unmoved.append(measure_unmoved(before, live.weights))
    live.result.bytes_per_param = count_bytes(live.weights, live.optimizer)
    live.result.weights_digest = digest_run(live)


def _take_step(live: LiveRun, inputs: Tensor, classes: Tensor) -> float:
    load_weights_(live.model, live.weights)
    loss = cross_entropy(live.model(inputs), classes)
    live.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    move_gradients_(live.model, live.weights)
    start = time.perf_counter()
    live.optimizer.step()
    live.result.step_ms.append(1e3 * (time.perf_counter() - start))
    live.scheduler.step()
    live.result.losses.append(loss.item())
    return live.result.losses[-1]


def measure_unmoved(before: Sequence[Tensor], weights: NamedParameters) -> float:
    """Return the share of the stored weights that equal those of before."""
    unmoved = sum(int((old == param).sum()) for old, (_, param) in zip(before, weights, strict=True))
    return unmoved / sum(old.numel() for old in before)


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
