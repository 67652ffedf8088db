"""Weights that are stored in one type and computed with in another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

NamedParameters = Sequence[tuple[str, nn.Parameter]]


def store_weights(model: nn.Module, dtype: torch.dtype) -> NamedParameters:
    """Return the named parameters that the optimizer owns: the model's own in fp32, else a copy in `dtype`.

    The model always computes in fp32: bf16 convolutions are ten times slower on a CPU, and so are bf16 products
    where it has no instructions for them. What a run studies is how the weights are kept and updated.
    """
    if dtype == torch.float32:
        return list(model.named_parameters())
    return [(name, nn.Parameter(param.detach().to(dtype))) for name, param in model.named_parameters()]


def load_weights_(model: nn.Module, weights: NamedParameters) -> None:
    """Copy the stored weights into the model, widened; nothing to do where they are the model's own."""
    with torch.no_grad():
        for param, (_, stored) in zip(model.parameters(), weights, strict=True):
            if param is not stored:
                param.copy_(stored)


def move_gradients_(model: nn.Module, weights: NamedParameters) -> None:
    """Move the model's gradients to the stored weights, rounded to their type, and clear the model's."""
    for param, (_, stored) in zip(model.parameters(), weights, strict=True):
        if param is not stored and param.grad is not None:
            stored.grad = param.grad.to(stored.dtype)
            param.grad = None
