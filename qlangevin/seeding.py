"""The seed of a run: one number that all ranks share."""

from __future__ import annotations

import torch
import torch.distributed


def choose_seed(seed: int | None) -> int:
    """The given seed, else ``torch.initial_seed()`` of rank 0, broadcast where torch.distributed is initialized.

    Replicas of a parameter must draw the same noise, so ranks must not choose for themselves.
    """
    if seed is not None:
        return seed
    chosen = [torch.initial_seed() % 2**64]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast_object_list(chosen, src=0)
    return chosen[0]
