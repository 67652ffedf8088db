"""A few golden runs that every usable backend must reproduce to the last bit; `python -m qlangevin info` shows the outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .optim import SGLD, CoolMomentum, LangevinAdadelta, LangevinAdam, LangevinAdamW, LangevinRMSprop
from .quantizers import BlockGrid, Grid
from .reference_numbers import Coordinates, gaussian
from .schedules import Cooling

CPU = torch.device("cpu")
STEPS = 20
SIZES = (1, 8, 100, 777)

# name -> (optimizer, parameter dtype, its arguments, SHA-256 of parameters and states after STEPS steps)
CASES: dict[str, tuple[Callable[..., torch.optim.Optimizer], torch.dtype, dict[str, Any], str]] = {
    "plain float32, gaussian": (
        SGLD,
        torch.float32,
        {"temperature": 1e-3},
        "1494938261fa0c8cc6f49e185365962a876eb4d90643b92edbb1656c17a7b742",
    ),
    "momentum float32, temperature 0": (
        SGLD,
        torch.float32,
        {"temperature": 0.0, "momentum": 0.9, "weight_decay": 0.01},
        "1c8ccf272cc33a73b50683ca1cc9b1b321f3cd31fd61d788377e252983a4f91b",
    ),
    "momentum bfloat16, gaussian, stochastic rounding, quantized update": (
        SGLD,
        torch.bfloat16,
        {"temperature": 1e-3, "momentum": 0.9, "update_quantizer": Grid(2.0**12, "stochastic")},
        "0bc0911a7163fae054b92c51c2a77d3046bfe83bfb2d73c36538d6e39a6dd6fb",
    ),
    "momentum float16, uniform, dithered gradient": (
        SGLD,
        torch.float16,
        {"temperature": 1e-3, "momentum": 0.9, "noise": "uniform", "grad_quantizer": Grid(2.0**8, "dither")},
        "a8719141029a0e2660a074d84e931b1522be006a2357e0b8cca8d836f1835d8d",
    ),
    "plain float32, averaged noise, blocks of gradients": (
        SGLD,
        torch.float32,
        {"temperature": 1e-2, "integrator": "leimkuhler_matthews", "grad_quantizer": BlockGrid()},
        "680a50b78c0a8dea203152a9378b12587fe10dd622c63d005db85a77ea41a4ee",
    ),
    "plain bfloat16, corrected rounding": (
        SGLD,
        torch.bfloat16,
        {"temperature": 1e-2, "param_rounding": "variance_corrected"},
        "33fc6215f268c6cdb5e22de5d0b0efe76ca0e9258abb520578a4a9d2b73d7513",
    ),
    "cooled momentum float32": (
        CoolMomentum,
        torch.float32,
        {"temperature": 1e-3, "momentum": Cooling(STEPS)},
        "e8f64161a8a47335850595942e626e1c6aceed5a6334f9a9006068b1770555eb",
    ),
    "RMSprop float32, gaussian": (
        LangevinRMSprop,
        torch.float32,
        {"temperature": 1e-3},
        "c150fa7e5510728ca23540e06b4e23c989b0dfdfc64a603cca37cb7f3a1c2b50",
    ),
    "AdamW bfloat16, gaussian, stochastic rounding": (
        LangevinAdamW,
        torch.bfloat16,
        {"temperature": 1e-3},
        "87798585a2b4f47f955f5b13bcac4fe2fdae411476929b51134d9fc93e3f1119",
    ),
    "Adam float16, AMSGrad, nearest": (
        LangevinAdam,
        torch.float16,
        {"amsgrad": True, "param_rounding": "nearest"},
        "c539a3b2ce4f6fb9cb5d6bad2c6daf5a804b9b06961d9cc599326a6d74219da5",
    ),
    "Adadelta bfloat16, rademacher": (
        LangevinAdadelta,
        torch.bfloat16,
        {"temperature": 1e-6, "noise": "rademacher"},
        "e7bf35016215ce43c1f3ed0e1d69f33e1813f9b95987737389ed70d63f282a78",
    ),
}


def draw_values(key: int, size: int) -> Tensor:
    """Values that look like a tensor's, from coordinates: equal on every machine and torch version."""
    return gaussian(Coordinates(key, 0, 0, 0, size, CPU).draw_words())


def run_case(name: str, backend: str, device: torch.device = CPU) -> str:
    """The digest of one golden run.

    Args:
        name: a key of CASES.
        backend: the backend to run it on.
        device: where its tensors are.
    """
    kind, dtype, arguments, _ = CASES[name]
    params = [torch.nn.Parameter(draw_values(i, size).to(device, dtype)) for i, size in enumerate(SIZES)]
    optimizer = kind(params, lr=0.05, seed=2**63 + 11, chain=3, backend=backend, **arguments)
    for step in range(STEPS):
        for i, param in enumerate(params):
            param.grad = draw_values(1000 * (step + 1) + i, param.numel()).to(device, dtype)
        optimizer.step()
    digest = hashlib.sha256()
    for param in params:
        for tensor in (param.detach(), *(value for _, value in sorted(optimizer.state[param].items()))):
            digest.update(bytes(tensor.cpu().reshape(-1).view(torch.uint8).tolist()))
    return digest.hexdigest()


def check_backend(backend: str, device: torch.device = CPU) -> dict[str, bool]:
    """For each golden run whether the backend gives its bits with tensors on a device."""
    return {name: run_case(name, backend, device) == case[-1] for name, case in CASES.items()}
