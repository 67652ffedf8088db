"""The tables of runs that the demo compares: a new optimizer is one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from qlangevin.demo.stored_weights import NamedParameters

ADAM_EPS = 1e-8  # torch's default, for both


@dataclass(frozen=True)
class Settings:
    """What all runs of a task share.

    Args:
        epochs: the score is measured, and a checkpoint saved, after each: a pass over images, a number of steps over a text.
        batch_size: images or windows of text per step.
        batches: steps per epoch; of images whole mini-batches, the remainder waits for the next shuffle.
        seed: of the initial weights, of the mini-batches and of the optimizers' draws.
        lr: the peak of the schedule.
        momentum: in [0, 1); Adam's beta_1.
        weight_decay: on every parameter; coupled for SGD, decoupled for AdamW.
        temperature: of the runs with noise; the others use 0.
        square_momentum: Adam's beta_2, in [0, 1).
    """

    epochs: int
    batch_size: int
    batches: int
    seed: int
    lr: float
    momentum: float
    weight_decay: float
    temperature: float = 0.0
    square_momentum: float = 0.999


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


def make_adamw(weights: NamedParameters, settings: Settings) -> Optimizer:
    """Build torch's AdamW; on bf16 weights its states are bf16 too, and everything is rounded to nearest."""
    betas = (settings.momentum, settings.square_momentum)
    return torch.optim.AdamW(weights, lr=settings.lr, betas=betas, eps=ADAM_EPS, weight_decay=settings.weight_decay)


def make_langevin_adamw(weights: NamedParameters, settings: Settings) -> Optimizer:
    """Build qlangevin's AdamW at temperature 0; bf16 weights have bf16 states, all rounded stochastically."""
    from qlangevin import LangevinAdamW  # noqa: PLC0415  the package imports the demo only to run it

    optimizer: Optimizer = LangevinAdamW(
        weights,
        lr=settings.lr,
        betas=(settings.momentum, settings.square_momentum),
        eps=ADAM_EPS,
        weight_decay=settings.weight_decay,
        seed=settings.seed,
    )
    return optimizer


IMAGE_RUNS: tuple[Run, ...] = (
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
TEXT_RUNS: tuple[Run, ...] = (
    Run("adamw-fp32", torch.float32, make_adamw),
    Run("adamw-bf16-nearest", torch.bfloat16, make_adamw),
    Run("langevin-adamw-bf16-stochastic", torch.bfloat16, make_langevin_adamw),
)
