"""What the optimizers with a preconditioner, and SGHMC, must refuse: optimizer, field, value, words of the message."""

from __future__ import annotations

from typing import Any

import torch

from qlangevin.quantizers import AdaptiveResolution, CalibratedResolution, Grid

from .wrong_values import INF, NAN, reals

Row = tuple[str, str, Any, str]  # optimizer, field, value, told
ROWS: list[Row] = []


def add(optimizers: tuple[str, ...], field: str, values: Any, told: str) -> None:
    """A row for each optimizer and value."""
    ROWS.extend((optimizer, field, value, f"{field}{told}") for optimizer in optimizers for value in values)


ADAM = ("LangevinAdam", "LangevinAdamW", "QuantizedAdam")
PRECONDITIONED = (*ADAM, "LangevinRMSprop", "LangevinAdagrad", "LangevinAdadelta")
NO_PAIRS: tuple[Any, ...] = (
    0.9,
    None,
    (),
    (0.9,),
    (0.9, 0.99, 0.999),
    "ab",
    {0.9, 0.99},
    torch.tensor([0.9, 0.99]),
    lambda step: (0.9, 0.99),
)
NO_FRACTIONS: tuple[Any, ...] = (
    *reals(),
    1.0,
    1,
    2.0,
    None,
    [0.1],
    torch.tensor(1.0),
    torch.tensor([0.1, 0.2]),
    lambda step: 0.5,
)
NO_REALS: tuple[Any, ...] = (
    *reals(),
    None,
    [0.1],
    10**400,
    torch.tensor(-1.0),
    torch.tensor(NAN),
    torch.ones(2),
    lambda step: 0.1,
)
add(ADAM, "betas", NO_PAIRS, " must be a pair of numbers in [0, 1), got ")
add(ADAM, "betas", [(value, 0.9) for value in NO_FRACTIONS], "[0] must be a number in [0, 1), got ")
add(ADAM, "betas", [[0.9, value] for value in NO_FRACTIONS], "[1] must be a number in [0, 1), got ")
add(("LangevinRMSprop",), "alpha", NO_FRACTIONS, " must be a number in [0, 1), got ")
add(("LangevinRMSprop",), "momentum", (*reals(), 1.0, 1, 2.0, None, [0.1]), " must be a number or a schedule in [0, 1), got ")
add(("LangevinRMSprop",), "momentum", (lambda step: 1.0, lambda step: -0.1), " must be a number or a schedule in [0, 1), got ")
add(("LangevinAdadelta",), "rho", NO_FRACTIONS, " must be a number in [0, 1), got ")
add(PRECONDITIONED[:-1], "eps", NO_REALS, " must be a number in [0, inf), got ")
add(PRECONDITIONED[-1:], "eps", (*NO_REALS, 0.0, 1e-19), " must be a number in [1e-18, inf), got ")
add(PRECONDITIONED, "eps", (1e39,), " must be at most 3.40282e+38")
add(("LangevinAdagrad",), "lr_decay", NO_REALS, " must be a number in [0, inf), got ")
add(("LangevinAdagrad",), "initial_accumulator_value", NO_REALS, " must be a number in [0, inf), got ")
add(("SGHMC",), "friction", (*reals(), 0.0, 0, 1.0, 2, None, [0.1]), " must be a number or a schedule in (0, 1), got ")
add(("SGHMC",), "noise_estimate", NO_FRACTIONS, " must be a number in [0, 1), got ")
add(("SGHMC",), "noise_estimate", (0.21, 0.9, torch.tensor(0.5)), " must be at most friction = 0.2, got ")
add(("SGHMC",), "friction", (0.04, torch.tensor(0.01), lambda step: 0.03), " = 0.0")
for _flag in ("amsgrad", "momentum_in_drift", "epsilon_hat"):
    _wrong = (1, 0, None, "yes", 1.0, torch.tensor(True), torch.tensor([True, False]))
    add(ADAM, _flag, _wrong, " must be True or False, got ")
add(("LangevinRMSprop",), "centered", (1, 0, None, "yes", 1.0, torch.tensor(True)), " must be True or False, got ")
add(
    PRECONDITIONED,
    "frozen_at",
    (-1, 1.0, 2.5, NAN, True, None, "3", 2**32, torch.tensor(3)),
    " must be an integer in [0, 2^32), got ",
)
TEMPERATURE = ("QuantizedAdam",), "temperature"
add(*TEMPERATURE, (0.1, 1e-30, torch.tensor(0.5), lambda step: 0.2), " = ")
add(*TEMPERATURE, (-1.0, NAN, INF, None, "0"), " must be a number or a schedule in [0, inf), got ")
_CALIBRATED = (
    Grid(CalibratedResolution()),
    Grid(CalibratedResolution(), "dither"),
    Grid(64.0, "noise"),
    Grid(AdaptiveResolution(), "noise"),
)
add(
    PRECONDITIONED,
    "update_quantizer",
    _CALIBRATED,
    " may have a CalibratedResolution or the rounding 'noise' in QuantizedSGD only",
)
