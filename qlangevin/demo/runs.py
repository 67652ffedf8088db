"""The table of runs that the demo compares: a new optimizer is one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from qlangevin.demo.model import NamedParameters


@dataclass(frozen=True)
class Settings:
    """What all runs share.

    Args:
        epochs: passes over the training images.
        batch_size: images per step.
        batches: steps per epoch, whole mini-batches; the remainder waits for the next shuffle.
        seed: of the initial weights, of the order of the images and of the optimizers' draws.
        lr: the peak of the schedule.
        momentum: in [0, 1).
        weight_decay: coupled, on every parameter.
        temperature: of the runs with noise; the others use 0.
    """

    epochs: int
    batch_size: int
    batches: int
    seed: int
    lr: float
    momentum: float
    weight_decay: float
    temperature: float


@dataclass(frozen=True)
class Run:
    """One line of the comparison.

    Args:
        name: for the command line, the table and the legend.
        param_dtype: the type in which the weights are stored.
        make_optimizer: builds the optimizer over the stored weights.
        constant_lr: keeps the learning rate at its peak, for an optimizer that cools by itself.
    """

    name: str
    param_dtype: torch.dtype
    make_optimizer: Callable[[NamedParameters, Settings], Optimizer]
    constant_lr: bool = False


def make_sgd(weights: NamedParameters, settings: Settings) -> Optimizer:
    """Build torch's SGD; on bf16 weights it rounds to nearest and loses updates below half a spacing."""
    lr, momentum, decay = settings.lr, settings.momentum, settings.weight_decay
    return torch.optim.SGD(weights, lr=lr, momentum=momentum, weight_decay=decay)


def make_sgld(weights: NamedParameters, settings: Settings, *, noise: bool) -> Optimizer:
    """Build qlangevin's SGLD with stochastic rounding, at the settings' temperature or at 0."""
    from qlangevin import SGLD  # noqa: PLC0415  the package imports the demo only to run it

    optimizer: Optimizer = SGLD(
        weights,
        lr=settings.lr,
        temperature=settings.temperature if noise else 0.0,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        param_rounding="stochastic",
        state_dtype=torch.bfloat16,
        seed=settings.seed,
    )
    return optimizer


def make_cool_momentum(weights: NamedParameters, settings: Settings) -> Optimizer:
    """Build qlangevin's CoolMomentum: a constant learning rate, the momentum falling from 0.99 to 0."""
    from qlangevin import CoolMomentum, schedules  # noqa: PLC0415  the package imports the demo only to run it

    optimizer: Optimizer = CoolMomentum(
        weights,
        lr=settings.lr,
        momentum=schedules.Cooling(total_steps=settings.epochs * settings.batches),
        weight_decay=settings.weight_decay,
        state_dtype=torch.bfloat16,
        seed=settings.seed,
    )
    return optimizer


def make_quantized_sgd(weights: NamedParameters, settings: Settings) -> Optimizer:
    """Build qlangevin's QuantizedSGD with the published resolution and compensation, with momentum."""
    from qlangevin import QuantizedSGD, quantizers  # noqa: PLC0415  the package imports the demo only to run it

    optimizer: Optimizer = QuantizedSGD(
        weights,
        lr=settings.lr,
        momentum=settings.momentum,
        update_quantizer=quantizers.Grid(quantizers.LogResolution(settings.batches)),
        compensation=quantizers.Compensation(0.2 * settings.epochs, settings.batches),
        weight_decay=settings.weight_decay,
        state_dtype=torch.bfloat16,
        seed=settings.seed,
    )
    return optimizer


RUNS: tuple[Run, ...] = (
    Run("sgd-fp32", torch.float32, make_sgd),
    Run("sgd-bf16-nearest", torch.bfloat16, make_sgd),
    Run(
        "sgld-bf16-stochastic",
        torch.bfloat16,
        lambda weights, settings: make_sgld(weights, settings, noise=False),
    ),
    Run("sgld-bf16-warm", torch.bfloat16, lambda weights, settings: make_sgld(weights, settings, noise=True)),
    Run("cool-momentum-bf16", torch.bfloat16, make_cool_momentum, constant_lr=True),
    Run("quantized-sgd-bf16", torch.bfloat16, make_quantized_sgd),
)
