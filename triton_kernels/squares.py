"""Norms: the mirror of ``squares.h`` and ``fold.h`` in ``csrc/cuda``, a program for each chunk and for each sum."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .draw import GROUP, GROUPS
from .launch import Call, launch
from .memory import ROW, bytes_of, load_group, range_of, whole_before
from .norm import add_squares, fold_columns, no_columns
from .observe import STATISTICS
from .step import OPTIONS, STORAGES, Tables
from .tables import CHUNK, reach_of

MOST = 0x7FFFFFFF  # of the numbers that a launch is handed: beyond it Triton would take another type, and compile again


class Shape(NamedTuple):
    """How values and sums lie: `width` of them side by side, 1 or as many as statistics, of which the last is a maximum."""

    width: int = 1
    value_stride: int = 1
    sum_stride: int = 1


ONE_BESIDE_ANOTHER = Shape()


@triton.jit(do_not_specialize_on_alignment=["chunks", "tensors", "grads", "sums"])
def squares_kernel(chunks, tensors, grads, sums, GRAD: tl.constexpr):
    """One program sums the squares of one chunk's gradient."""
    program = tl.program_id(0).to(tl.int64)
    place = chunks + program * 2
    index = tl.load(place)
    reach = reach_of(tensors, index, tl.load(place + 1))
    base = tl.load(grads + index) + reach.before * bytes_of(GRAD)
    whole = whole_before(reach, (base & 15) == 0)
    columns = no_columns()
    for begin in range(reach.first & -ROW, reach.last, ROW):
        columns = add_squares(columns, load_group(base, GRAD, range_of(reach, begin, whole)))  # 0 outside of the tensor
    tl.store(sums + program + tl.arange(0, 1), fold_columns(columns))


FOLD = ["values", "sums", "folds", "found_inf", "listed", "count", "width", "value_stride", "sum_stride"]


@triton.jit(do_not_specialize=FOLD[4:], do_not_specialize_on_alignment=FOLD)
def fold_kernel(values, sums, folds, found_inf, listed, count, width, value_stride, sum_stride):
    """One program makes one sum, or a maximum. listed: folds says of what; else of each CHUNK of `count` values."""
    if tl.load(found_inf) != 0.0:
        return
    statistic = tl.program_id(1)
    to = tl.program_id(0).to(tl.int64)
    first = to * CHUNK
    number = tl.minimum(count - first, CHUNK)
    if listed != 0:
        fold = folds + to * 3
        first, number, to = tl.load(fold), tl.load(fold + 1), tl.load(fold + 2)
    place = tl.arange(0, GROUPS)[None, :] * GROUP + tl.arange(0, GROUP)[:, None]
    columns, most = no_columns(), no_columns()
    for begin in range(0, number.to(tl.int32), ROW):
        at = begin + place
        value = tl.load(values + ((first + at) * value_stride + statistic), at < number, 0.0)
        columns = columns + value
        most = tl.where(value > most, value, most)
    result = fold_columns(columns)
    if (width == STATISTICS) & (statistic == STATISTICS - 1):
        largest = tl.max(tl.max(most.to(tl.float32), 0), 0)  # it was a binary32 number
        result = tl.zeros_like(result) + largest.to(tl.float64)
    tl.store(sums + (to * sum_stride + statistic) + tl.arange(0, 1), result)


def launch_squares(grad_dtype: torch.dtype, tables: Tables, sums: Tensor) -> None:
    """Sums the squares of each chunk's gradient as it is stored.

    Args:
        grad_dtype: of the gradients.
        tables: on the device of the gradients.
        sums: binary64, one for each chunk.
    """
    arguments = (tables.chunks, tables.tensors, tables.grads, sums)
    launch(Call(squares_kernel, (tables.chunks.shape[0],), arguments, (STORAGES[grad_dtype],), OPTIONS))


def launch_fold(values: Tensor, sums: Tensor, found_inf: Tensor, folds: Tensor | int, shape: Shape = ONE_BESIDE_ANOTHER) -> None:
    """Sums values, up to 4096 of them each, unless found_inf is set.

    Args:
        values: binary64.
        sums: binary64.
        found_inf: one binary32 number.
        folds: for each sum (first, count, to), as make_folds() makes them; or how many values there are, which then are taken
            one after another.
        shape: how the values and sums lie.
    """
    launch(call_fold(values, sums, found_inf, folds, shape))


def call_fold(values: Tensor, sums: Tensor, found_inf: Tensor, folds: Tensor | int, shape: Shape = ONE_BESIDE_ANOTHER) -> Call:
    """What launch_fold launches."""
    count = 0 if isinstance(folds, Tensor) else folds
    number = folds.shape[0] if isinstance(folds, Tensor) else triton.cdiv(folds, CHUNK.value)
    if max(number, count, *shape) > MOST:
        raise ValueError("a launch is of at most 2^31 - 1 values, as far apart")
    table = folds if isinstance(folds, Tensor) else torch.empty(0, dtype=torch.int64, device=values.device)
    arguments = values, sums, table, found_inf, int(isinstance(folds, Tensor)), count, *shape
    return Call(fold_kernel, (number, shape.width), arguments, (), OPTIONS)
