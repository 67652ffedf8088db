"""The tables of folds: how the numbers of chunks come to one of each tensor, made by the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .tables import CHUNK


def make_folds(extents: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, int]:
    """How the numbers of chunks come to one of each of a list of (size, offset): folds, last folds, and segments.

    A fold is (first, count, to). The sums are one of each tensor, then the segments': a tensor of more than 4096 chunks is
    summed over segments of as many, which the last folds sum. Plan::plan_tasks of csrc/cuda/plan.cpp makes the same ones.
    """
    most = CHUNK.value
    folds: list[tuple[int, int, int]] = []
    last_folds: list[tuple[int, int, int]] = []
    first = segments = 0
    for tensor, (size, offset) in enumerate(extents):
        chunks = (offset + size - 1) // most - offset // most + 1 if size else 0
        if chunks > most * most:
            raise ValueError("a tensor has more than 2^36 elements")
        if chunks <= most:
            folds.append((first, chunks, tensor))
        else:
            begins = range(0, chunks, most)
            last_folds.append((len(extents) + segments, len(begins), tensor))
            for begin in begins:
                folds.append((first + begin, min(most, chunks - begin), len(extents) + segments))
                segments += 1
        first += chunks
    table, last_table = (torch.tensor(rows, dtype=torch.int64, device="cpu").view(-1, 3) for rows in (folds, last_folds))
    return table, last_table, segments
