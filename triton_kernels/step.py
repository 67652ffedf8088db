"""One launch steps all tensors of a (device, storage types, rule) bucket: one program for each chunk of a tensor."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .draw import GROUP, GROUPS, PARAM_ROUNDING, STATE_ROUNDING, Coordinates, Draws, averages, draw_halves, draw_noise, group_part
from .launch import Call, launch
from .memory import (
    ROW,
    bytes_of,
    is_inside,
    load_group,
    pack,
    pack_drawn,
    range_of,
    store_group,
    unpack_stored,
    whole_before,
)
from .norm import add_squares
from .observe import STATISTICS, Tally, Watched, add_count, clear, finish, watch_displacement, watch_stored
from .rounding import FLOAT32, OFF
from .rules import KERNELS, averages_noise, second_moment_of, site_of, states_of
from .scalars import Row, Scalars
from .tables import CHUNK, coordinates_of, load_row, load_tensor, reach_of
from .update import Element, moving_noise, unscale, update

WARPS = 1  # of a program: each thread has one group of 8 of a row
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
def is_bare(RULE: tl.constexpr, s):
    """Whether a step has no quantizer, decay, compensation, corrected rounding or averaged noise, as most have none."""
    no_quantizer = (s.grad_rounding == OFF) & (s.update_rounding == OFF)
    no_decay = (s.weight_decay == 0.0) & (s.decoupled_weight_decay == 0.0)
    bare = no_quantizer & no_decay & (s.compensation == 0.0)
    if site_of(RULE) == "displacement":  # a velocity's noise is never corrected
        bare = bare & (s.corrected_param == 0)
    if averages_noise(RULE):
        bare = bare & (averages(s.noise) == 0)
    return bare


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


@triton.jit
def nought_of(here):
    """0, which the compiler knows of no row: what it is added to is made in each, and fills no registers through all of them."""
    return here.at.to(tl.uint32) // CHUNK


@triton.jit
def averages_in(RULE: tl.constexpr, s, here):
    """Whether a row's noise is averaged, None where the rule never does that."""
    if averages_noise(RULE):
        return averages(s.noise + nought_of(here).to(tl.int32))
    else:
        return None


class Chunk(NamedTuple):
    """What a program knows of its chunk before the first row."""

    row: Row
    bases: Bases
    bare: tl.tensor
    watched: Watched


@triton.jit
def update_group(KERNEL: tl.constexpr, chunk, draws, e):
    """One branch to a step where the compiler knows that it is bare costs less than one for each of the stages."""
    RULE: tl.constexpr = KERNEL[0]
    PARAM: tl.constexpr = KERNEL[1]
    row, noisy = chunk.row, chunk.watched.noise
    if chunk.bare:
        s = row.common
        numbers = (s.grad_multiplier, 0.0, s.lr, 0.0, s.noise_scale, 0.0, 0.0, 0.0, 0.0, 0.0)
        common = Scalars(*numbers, s.noise, OFF, OFF, s.stochastic_param, s.stochastic_state, 0, 0)
        bare_draws = Draws(draws.at, draws.groups, draws.noise, None)
        new = update(RULE, PARAM, Row(common, row.rule, row.step, row.chain), bare_draws, noisy, e)
    else:
        new = update(RULE, PARAM, row, draws, noisy, e)
    return new


@triton.jit
def load_element(bases, here, KERNEL: tl.constexpr):
    """A row's values before the step."""
    RULE: tl.constexpr = KERNEL[0]
    PARAM: tl.constexpr = KERNEL[1]
    GRAD: tl.constexpr = KERNEL[2]
    STATE: tl.constexpr = KERNEL[3]
    states = ()
    for k in tl.static_range(states_of(RULE)):
        states = states + (load_group(bases.states[k], STATE, here),)  # noqa: RUF005
    param = load_group(bases.param, PARAM, here)
    grad = load_group(bases.grad, GRAD, here)
    return Element(param, grad, states, grad, grad, grad)


@triton.jit
def store_element(chunk, here, draws, old, e, KERNEL: tl.constexpr):
    """Rounds and stores a stepped row, the parameter unless lr is 0; the parameter as it lies in memory then."""
    RULE: tl.constexpr = KERNEL[0]
    PARAM: tl.constexpr = KERNEL[1]
    STATE: tl.constexpr = KERNEL[3]
    s = chunk.row.common
    stored = old
    if s.lr != 0.0:
        packed = round_stored(PARAM, e.param, s.stochastic_param, draws, PARAM_ROUNDING)
        store_group(chunk.bases.param, PARAM, here, packed)
        stored = unpack_stored(PARAM, packed)
    for k in tl.static_range(states_of(RULE)):
        packed = round_stored(STATE, e.states[k], s.stochastic_state, draws, STATE_ROUNDING + k)
        store_group(chunk.bases.states[k], STATE, here, packed)
    return stored


@triton.jit
def step_row(chunk, here, draws, KERNEL: tl.constexpr):
    """Steps a row."""
    before = load_element(chunk.bases, here, KERNEL)
    e = update_group(KERNEL, chunk, draws, before)
    store_element(chunk, here, draws, before.param, e, KERNEL)


@triton.jit
def watch_row(chunk, here, draws, tally, KERNEL: tl.constexpr, STORES: tl.constexpr):
    """Steps a row if STORES, else only looks at it; the tally with what was seen, each number as soon as it is known."""
    RULE: tl.constexpr = KERNEL[0]
    row, watched = chunk.row, chunk.watched
    inside = is_inside(here)
    before = load_element(chunk.bases, here, KERNEL)
    grads, updates, noises = tally.grad_squares, tally.update_squares, tally.noise_squares
    rounding, unmoved, zeroed = tally.rounding_squares, tally.unmoved, tally.zeroed
    if STORES:
        grads = add_squares(grads, tl.where(inside, unscale(row.common, before.grad), 0.0))
    noise = tl.zeros_like(before.param)
    if watched.noise:
        noise = draw_noise(row.common.noise, draws)
        if STORES and second_moment_of(RULE) < 0:  # else it needs what is known after the step
            noises = add_squares(noises, tl.where(inside, moving_noise(RULE, row, before, noise), 0.0))
    e = update_group(KERNEL, chunk, Draws(draws.at, draws.groups, noise, None), before)
    if STORES and second_moment_of(RULE) >= 0:  # noqa: SIM102  # one condition is known when a kernel is compiled
        if watched.noise:
            noises = add_squares(noises, tl.where(inside, moving_noise(RULE, row, e, noise), 0.0))
    squares, sum, error, largest = watch_displacement(tally, watched, inside, e.displacement, e.delta, STORES)
    if STORES:
        updates = add_squares(updates, tl.where(inside, e.delta, 0.0))
        zeroed = add_count(zeroed, inside & (e.delta == 0.0))
        stored = store_element(chunk, here, draws, before.param, e, KERNEL)
        rounding, unmoved = watch_stored(tally, watched, inside, before.param, e.param, stored)
    return Tally(grads, squares, sum, updates, error, noises, rounding, unmoved, zeroed, largest)


@triton.jit(do_not_specialize_on_alignment=[*Tables._fields, "statistics"])
def step_kernel(chunks, tensors, grads, rows, found_inf, statistics, KERNEL: tl.constexpr, STORES: tl.constexpr):
    """One program steps one chunk, row of 256 elements by row. KERNEL: what specialize() says; statistics may be None."""
    RULE: tl.constexpr = KERNEL[0]
    PARAM: tl.constexpr = KERNEL[1]
    if tl.load(found_inf) != 0.0:
        return
    program = tl.program_id(0).to(tl.int64)
    place = chunks + program * 2
    index = tl.load(place)
    tensor = load_tensor(tensors, index, states_of(RULE))
    row = load_row(RULE, rows, index)
    reach = reach_of(tensors, index, tl.load(place + 1))
    bases = bases_of(tensor, tl.load(grads + index), reach.before, KERNEL)
    at = coordinates_of(tensor.key, row, reach.block)
    s = row.common
    whole = whole_before(reach, are_aligned(bases))
    bare = is_bare(RULE, s)
    noisy = tensor.noise & (s.noise_scale > 0.0)
    if STORES:
        watched = Watched(s.update_rounding != OFF, noisy, (s.lr != 0.0) & (PARAM != FLOAT32))
    else:  # noise that a displacement does not know is left out by the compiler
        watched = Watched(True, noisy, False)
    chunk = Chunk(row, bases, bare, watched)
    tally = clear()
    lanes = (reach.block // GROUP).to(tl.uint32) + tl.arange(0, GROUPS).to(tl.uint32)
    for begin in range(reach.first & -ROW, reach.last, ROW):
        here = range_of(reach, begin, whole)
        row_at = at
        if statistics is not None:
            row_at = Coordinates(at.key, at.step + nought_of(here), at.chain, at.group_high)
        draws = Draws(row_at, group_part(row_at, lanes + here.at.to(tl.uint32) // GROUP), None, averages_in(RULE, s, here))
        if statistics is None:
            step_row(chunk, here, draws, KERNEL)
        else:
            tally = watch_row(chunk, here, draws, tally, KERNEL, STORES)
    if statistics is not None:
        finish(tally, watched, statistics + program * STATISTICS, STORES)


def launch_step(
    rule: str,
    dtypes: tuple[torch.dtype, torch.dtype, torch.dtype],
    tables: Tables,
    statistics: Tensor | None = None,
    stores: bool = True,
) -> None:
    """Steps every tensor of a bucket once, on the current stream of its device.

    Args:
        rule: the rule's name.
        dtypes: of parameters, gradients and states.
        tables: on the device of the tensors that they point to.
        statistics: binary64, of each chunk those that qlangevin.reference.STATISTICS names.
        stores: False looks at the step without taking it; only the displacement's statistics are not 0 then.
    """
    if statistics is None and not stores:
        raise ValueError("looking ahead needs memory for its statistics")
    launch(call_step(rule, dtypes, tables, statistics, stores))


def call_step(
    rule: str,
    dtypes: tuple[torch.dtype, torch.dtype, torch.dtype],
    tables: Tables,
    statistics: Tensor | None = None,
    stores: bool = True,
) -> Call:
    """What launch_step launches."""
    grid = (tables.chunks.shape[0],)
    return Call(step_kernel, grid, (*tables, statistics), (specialize(rule, dtypes), stores), OPTIONS)


def specialize(rule: str, dtypes: tuple[torch.dtype, torch.dtype, torch.dtype]) -> tuple[str, int, int, int]:
    """All that a kernel is compiled for: the rule, and the storage types of parameters, gradients and states."""
    param, grad, state = (STORAGES[dtype] for dtype in dtypes)
    return KERNELS[rule], param, grad, state if states_of(KERNELS[rule]) else 0
