"""Tensors of every memory layout that a step must take: name -> the same kind of tensor, made from values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def permuted(*order: int) -> Callable[[Tensor], Tensor]:
    """The values, laid out in memory in another order of the dimensions."""
    inverse = sorted(range(len(order)), key=order.__getitem__)
    return lambda values: values.permute(order).contiguous().permute(inverse)


def misaligned(values: Tensor) -> Tensor:
    """A dense view that begins at an odd element of larger memory."""
    memory = torch.zeros(values.numel() + 7, dtype=values.dtype)
    return memory[3 : 3 + values.numel()].view(values.shape).copy_(values)


def strided(values: Tensor) -> Tensor:
    """Every second element of memory that is twice as large: fit for gradients only."""
    memory = torch.full((*values.shape, 2), 77.0).to(values.dtype)
    memory[..., 0] = values
    return memory[..., 0]


def expanded(values: Tensor) -> Tensor:
    """One row for all, as sum().backward() leaves it: fit for gradients only."""
    return values[:1].clone().expand(values.shape)


# A shape, and how its values lie in memory; every one of them is dense.
DENSE: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "contiguous": ((5, 7), lambda values: values),
    "transposed": ((5, 7), permuted(1, 0)),
    "channels_last": ((2, 3, 4, 5), lambda values: values.contiguous(memory_format=torch.channels_last)),
    "channels_last_3d": ((2, 3, 2, 2, 3), lambda values: values.contiguous(memory_format=torch.channels_last_3d)),
    "one channel, channels_last": ((2, 1, 4, 5), lambda values: values.contiguous(memory_format=torch.channels_last)),
    "permuted": ((3, 4, 5, 2), permuted(2, 0, 3, 1)),
    "permuted with a dimension of size 1": ((3, 1, 5), permuted(2, 1, 0)),
    "0-dim": ((), lambda values: values),
    "one element": ((1, 1), lambda values: values),
    "empty": ((0,), lambda values: values),
    "empty in the middle": ((3, 0, 2), lambda values: values),
    "misaligned": ((3, 11), misaligned),
}

# Layouts of a gradient of shape (6, 4) whose parameter is contiguous or transposed.
GRADS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda values: values,
    "transposed": permuted(1, 0),
    "misaligned": misaligned,
    "strided": strided,
    "expanded": expanded,
    "transposed and strided": lambda values: strided(values.t().contiguous()).t(),
}
