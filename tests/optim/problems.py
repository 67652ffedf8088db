"""Small named problems whose gradients depend on nothing but a parameter's name and the step's number."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import SGLD

SHAPES: tuple[tuple[int, ...], ...] = ((3, 5), (7,), (), (2, 3, 4))
ALL_ON: dict[str, Any] = {"temperature": 0.3, "momentum": 0.9, "weight_decay": 0.01}


def draw(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Normal values that follow from the name."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(tuple(shape), generator=generator).to(dtype)


@dataclass
class Problem:
    """Parameters by name. grad_dtype: None for each parameter's own."""

    params: dict[str, Parameter]
    grad_dtype: torch.dtype | None = None
    without_grads: set[str] = field(default_factory=set)

    def list(self) -> list[Parameter]:
        """The parameters without their names."""
        return list(self.params.values())

    def named(self) -> list[tuple[str, Parameter]]:
        """The parameters with their names."""
        return list(self.params.items())

    def set_grads(self, step: int, factor: float = 1.0) -> None:
        """The gradients of a step, in the memory order of their parameters."""
        for name, param in self.params.items():
            if name in self.without_grads:
                param.grad = None
                continue
            if self.grad_dtype is not None:
                param.grad_dtype = self.grad_dtype
            dtype = self.grad_dtype or param.dtype
            grad = torch.empty_like(param, dtype=dtype, requires_grad=False)
            param.grad = grad.copy_(draw(f"{name}/{step}", param.shape, dtype) * factor)

    def run(self, optimizer: torch.optim.Optimizer, steps: Iterable[int]) -> Problem:
        """Steps with the gradients of each number."""
        for step in steps:
            self.set_grads(step)
            optimizer.step()
        return self

    def values(self) -> dict[str, Tensor]:
        """Copies of the parameters."""
        return {name: param.detach().clone() for name, param in self.params.items()}


def make_problem(
    shapes: Sequence[Sequence[int]] | Mapping[str, Sequence[int]] = SHAPES, dtype: torch.dtype = torch.float32
) -> Problem:
    """Parameters of these shapes, named p0, p1, ... where they have no names."""
    named = shapes if isinstance(shapes, Mapping) else {f"p{i}": shape for i, shape in enumerate(shapes)}
    return Problem({name: Parameter(draw(name, shape, dtype)) for name, shape in named.items()})


def make_sgld(params: Any, lr: float | Tensor = 0.05, **options: Any) -> SGLD:
    """An SGLD with a fixed seed, at temperature 0 if nothing else is said."""
    return SGLD(params, lr, **{"temperature": 0.0, "seed": 7, **options})
