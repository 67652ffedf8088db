"""One launch steps all tensors of a (device, storage types, rule) bucket: one program for each chunk of a tensor."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .draw import GROUP, GROUPS, PARAM_ROUNDING, STATE_ROUNDING, Draws, draw_halves, group_part
from .memory import Range, bytes_of, load_group, pack, pack_drawn, store_group
from .rounding import FLOAT32, OFF
from .rules import KERNELS, states_of
from .scalars import Row, Scalars
from .tables import coordinates_of, load_row, load_tensor, reach_of
from .update import Element, update

WARPS = 1  # of a program: each thread has one group of 8 of a row
ROW = tl.constexpr(GROUPS.value * GROUP.value)
OPTIONS = {"num_warps": WARPS, "num_stages": 1, "enable_fp_fusion": False}
STORAGES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


class Tables(NamedTuple):
    """The tables of a bucket, on its device; found_inf: one binary32 number, and nothing is done where it is not 0."""

    chunks: Tensor
    tensors: Tensor
    grads: Tensor
    rows: Tensor
    found_inf: Tensor


class Bases(NamedTuple):
    """The addresses of a chunk's block in each of a tensor's memories."""

    param: tl.tensor
    grad: tl.tensor
    states: tuple[tl.tensor, ...]


@triton.jit
def bases_of(tensor, grad, before, KERNEL: tl.constexpr):
    """Where the block's first element lies, or would."""
    PARAM: tl.constexpr = KERNEL[1]
    GRAD: tl.constexpr = KERNEL[2]
    STATE: tl.constexpr = KERNEL[3]
    states = ()
    for k in tl.static_range(len(tensor.states)):
        states = states + (tensor.states[k] + before * bytes_of(STATE),)  # noqa: RUF005  # Triton has no star in a tuple
    return Bases(tensor.param + before * bytes_of(PARAM), grad + before * bytes_of(GRAD), states)


@triton.jit
def are_aligned(bases):
    """Whether every memory lies on 16 bytes."""
    address = bases.param | bases.grad
    for k in tl.static_range(len(bases.states)):
        address = address | bases.states[k]
    return (address & 15) == 0


@triton.jit
def is_bare(s):
    """Whether a step has no quantizer, no decay and no compensation, as most have none."""
    no_quantizer = (s.grad_rounding == OFF) & (s.update_rounding == OFF)
    return no_quantizer & (s.weight_decay == 0.0) & (s.decoupled_weight_decay == 0.0) & (s.compensation == 0.0)


@triton.jit
def update_group(RULE: tl.constexpr, row, bare, draws, noisy, e):
    """One branch to a step where the compiler knows that it is bare costs less than one for each of the stages."""
    if bare:
        s = row.common
        numbers = (s.grad_multiplier, 0.0, s.lr, 0.0, s.noise_scale, 0.0, 0.0, 0.0, 0.0, 0.0)
        common = Scalars(*numbers, s.noise, OFF, OFF, s.stochastic_param, s.stochastic_state)
        e = update(RULE, Row(common, row.rule, row.step, row.chain), draws, noisy, e)
    else:
        e = update(RULE, row, draws, noisy, e)
    return e


@triton.jit
def round_stored(STORAGE: tl.constexpr, values, stochastic, draws, PURPOSE: tl.constexpr):
    """A row as it is stored; values of 32 bits need no random bits."""
    if STORAGE == FLOAT32:
        packed = pack(STORAGE, values)
    elif stochastic:
        packed = pack_drawn(STORAGE, values, draw_halves(draws, PURPOSE))
    else:
        packed = pack(STORAGE, values)
    return packed


@triton.jit(do_not_specialize_on_alignment=Tables._fields)
def step_kernel(chunks, tensors, grads, rows, found_inf, KERNEL: tl.constexpr):
    """One program steps one chunk, row of 256 elements by row. KERNEL: what specialize() says."""
    RULE: tl.constexpr = KERNEL[0]
    PARAM: tl.constexpr = KERNEL[1]
    GRAD: tl.constexpr = KERNEL[2]
    STATE: tl.constexpr = KERNEL[3]
    if tl.load(found_inf) != 0.0:
        return
    chunk = chunks + tl.program_id(0).to(tl.int64) * 2
    index = tl.load(chunk)
    tensor = load_tensor(tensors, index, states_of(RULE))
    row = load_row(RULE, rows, index)
    reach = reach_of(tensors, index, tl.load(chunk + 1))
    bases = bases_of(tensor, tl.load(grads + index), reach.before, KERNEL)
    at = coordinates_of(tensor.key, row, reach.block)
    s = row.common
    aligned = are_aligned(bases)
    bare = is_bare(s)
    noisy = tensor.noise & (s.noise_scale > 0.0)
    lanes = tl.arange(0, GROUPS).to(tl.uint32)
    for begin in range(reach.first & -ROW, reach.last, ROW):
        whole = (begin >= reach.first) & (begin + ROW <= reach.last)
        here = Range(begin, reach.first, reach.last, aligned & whole)
        draws = Draws(at, group_part(at, ((reach.block + begin) // GROUP).to(tl.uint32) + lanes))
        states = ()
        for k in tl.static_range(states_of(RULE)):
            states = states + (load_group(bases.states[k], STATE, here),)  # noqa: RUF005
        param = load_group(bases.param, PARAM, here)
        grad = load_group(bases.grad, GRAD, here)
        e = update_group(RULE, row, bare, draws, noisy, Element(param, grad, states, grad, grad))
        if s.lr != 0.0:
            store_group(bases.param, PARAM, here, round_stored(PARAM, e.param, s.stochastic_param, draws, PARAM_ROUNDING))
        for k in tl.static_range(states_of(RULE)):
            packed = round_stored(STATE, e.states[k], s.stochastic_state, draws, STATE_ROUNDING + k)
            store_group(bases.states[k], STATE, here, packed)


def launch_step(rule: str, dtypes: tuple[torch.dtype, torch.dtype, torch.dtype], tables: Tables) -> None:
    """Steps every tensor of a bucket once, on the current stream of its device.

    Args:
        rule: the rule's name.
        dtypes: of parameters, gradients and states.
        tables: on the device of the tensors that they point to.
    """
    chunks = tables.chunks.shape[0]
    if chunks == 0:
        return
    step_kernel[(chunks,)](*tables, specialize(rule, dtypes), **OPTIONS)


def specialize(rule: str, dtypes: tuple[torch.dtype, torch.dtype, torch.dtype]) -> tuple[str, int, int, int]:
    """All that a kernel is compiled for: the rule, and the storage types of parameters, gradients and states."""
    param, grad, state = (STORAGES[dtype] for dtype in dtypes)
    return KERNELS[rule], param, grad, state if states_of(KERNELS[rule]) else 0
