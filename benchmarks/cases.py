"""What is timed: steps over lists of tensors, ours and torch's, as functions to call again and again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from qlangevin import SGLD
from qlangevin.quantizers import Grid

LISTS = {"large": (32, 1 << 20), "many-small": (1000, 1024)}  # name -> (tensors, elements of each)
UPDATE_GRID = Grid(2.0**20, "stochastic")
NEAREST_GRID = Grid(2.0**20, "nearest")


@dataclass(frozen=True)
class Case:
    """One step to time."""

    name: str
    dtype: torch.dtype
    make: Callable[[list[torch.nn.Parameter]], Callable[[], object]]


def sgld(**options: object) -> Callable[[list[torch.nn.Parameter]], Callable[[], object]]:
    """SGLD's step with the given options."""
    given = {"temperature": 0.0, "momentum": 0.9, "param_rounding": "nearest", "state_rounding": "nearest", "seed": 0, **options}
    return lambda params: SGLD(params, lr=1e-3, backend="native", **given).step  # type: ignore[arg-type]  # options of any type, by name


def torch_sgd(**options: bool) -> Callable[[list[torch.nn.Parameter]], Callable[[], object]]:
    """torch.optim.SGD's step with momentum."""
    return lambda params: torch.optim.SGD(params, lr=1e-3, momentum=0.9, **options).step


def eager_sgld(params: list[torch.nn.Parameter]) -> Callable[[], object]:
    """The loop that Langevin libraries run: two operations and a random tensor for each parameter."""

    @torch.no_grad()
    def step() -> None:
        for param in params:
            assert param.grad is not None
            param.add_(param.grad, alpha=-1e-3)
            param.add_(torch.randn_like(param), alpha=math.sqrt(2e-3 * 1e-4))

    return step


BOTH = {"param_rounding": "stochastic", "state_rounding": "stochastic"}
CASES = (
    Case("torch SGD fused", torch.float32, torch_sgd(fused=True)),
    Case("torch SGD foreach", torch.float32, torch_sgd(foreach=True)),
    Case("eager SGLD", torch.float32, eager_sgld),
    Case("eager SGLD bf16", torch.bfloat16, eager_sgld),
    Case("momentum", torch.float32, sgld()),
    Case("SGLD", torch.float32, sgld(momentum=0.0, temperature=1e-4)),
    Case("momentum + noise", torch.float32, sgld(temperature=1e-4)),
    Case("momentum + noise + nearest grid", torch.float32, sgld(temperature=1e-4, update_quantizer=NEAREST_GRID)),
    Case("momentum + noise + stochastic grid", torch.float32, sgld(temperature=1e-4, update_quantizer=UPDATE_GRID)),
    Case("momentum bf16", torch.bfloat16, sgld()),
    Case("SGLD bf16 SR", torch.bfloat16, sgld(momentum=0.0, temperature=1e-4, param_rounding="stochastic")),
    Case("momentum bf16 + noise + 2 SR", torch.bfloat16, sgld(temperature=1e-4, **BOTH)),
    Case(
        "momentum bf16 + noise + nearest grid + 2 SR",
        torch.bfloat16,
        sgld(temperature=1e-4, update_quantizer=NEAREST_GRID, **BOTH),
    ),
    Case(
        "momentum bf16 + noise + stochastic grid + 2 SR",
        torch.bfloat16,
        sgld(temperature=1e-4, update_quantizer=UPDATE_GRID, **BOTH),
    ),
)


def make_params(shapes: tuple[int, int], dtype: torch.dtype) -> list[torch.nn.Parameter]:
    """Parameters with gradients; none of them zeros."""
    count, size = shapes
    generator = torch.Generator().manual_seed(0)
    params = []
    for _ in range(count):
        param = torch.nn.Parameter(torch.randn(size, generator=generator).to(dtype))
        param.grad = torch.randn(size, generator=generator).to(dtype)
        params.append(param)
    return params
