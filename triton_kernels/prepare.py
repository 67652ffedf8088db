"""The scalars of a step, made on the device: the mirror of ``csrc/cuda/prepare.h``, which here makes them for every step.

One launch before the step's writes a row for each tensor, from what the host knows and what only the device does: counters,
``lr`` and ``temperature`` in tensors, schedules, the scale of the gradients, norms.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from .launch import Call, launch
from .rules import hypers_of, noise_variance, prepare
from .scalars import Hyper, Row, Scalars, clip_coefficient, compensation_factor, effective_rounding, norm_of, round_once
from .tables import GROUP_WORDS, HYPER_WORDS, TENSOR_WORDS, load_hyper, load_wide, store_row

# A lane makes one tensor's row. In a program of its own each tensor would keep 32 lanes at the same divisions, in binary64,
# of which many GPUs do two a clock: 1,000 tensors would be 1,000 warps of that instead of 32.
LANES = tl.constexpr(32)
STATISTICS, DISPLACEMENT_SQUARES = tl.constexpr(10), tl.constexpr(1)  # how many there are of a tensor, and which one is read
OPTIONS = {"num_warps": 1, "num_stages": 1, "enable_fp_fusion": False}


class Inputs(NamedTuple):
    """What the kernel reads and writes, on the device; what a step does not have is a dummy, so that nothing compiles again."""

    tensors: Tensor  # a table of T tensors
    groups: Tensor  # a table of groups
    steps: Tensor  # int64: the step that each tensor takes
    compensations: Tensor  # binary32: that the host made, one for each tensor
    grad_scale: Tensor  # one binary32 number; 1 for none
    found_inf: Tensor  # one binary32 number; nothing is done where it is not 0
    grad_squares: Tensor  # binary64: the sum of all gradients together
    displacement_squares: Tensor  # binary64: the sum of all displacements together
    ahead: Tensor  # binary64: the statistics of each tensor's displacement, ahead of the step
    rows: Tensor  # int32 (T, row_words(rule)): written
    overrun: Tensor  # int32: becomes 1 where a schedule has no such step


class Request(NamedTuple):
    """What a step asks for."""

    chain: int  # of 32 bits
    step: int = 0  # the one that every tensor takes, of 32 bits; 0: that of `steps`, or
    from_counters: bool = False  # the one after each tensor's counter
    host_compensations: bool = False  # compensation factors are read from `compensations`, or
    device_compensations: bool = False  # made of `ahead` and `displacement_squares`
    counts: bool = True  # writes the counters that there are; else the step is only looked at, and nothing is compensated


# --- scalars.h --------------------------------------------------------------------------------------------------------


@triton.jit
def make_row(RULE: tl.constexpr, h, grad_multiplier, compensation, step, chain):
    """The rows of a block of tensors."""
    lr = round_once(h.lr)
    noisy = (lr > 0.0) & (h.temperature > 0.0)
    common = Scalars(
        round_once(grad_multiplier),
        round_once(h.weight_decay),
        lr,
        round_once(h.lr * h.decoupled_weight_decay),
        tl.where(noisy, round_once(tl.sqrt(noise_variance(RULE, h, step))), 0.0),
        compensation,
        round_once(h.grad_resolution),
        round_once(1.0 / h.grad_resolution),
        round_once(h.update_resolution),
        round_once(1.0 / h.update_resolution),
        h.noise,
        effective_rounding(h.grad_rounding, h.grad_resolution),
        effective_rounding(h.update_rounding, h.update_resolution),
        h.stochastic_param,
        h.stochastic_state,
        h.corrected_param,
        h.grad_blocks,
    )
    return Row(common, prepare(RULE, h, step), step, chain)


# --- prepare.h --------------------------------------------------------------------------------------------------------


@triton.jit
def read_number(words, otherwise):
    """The number whose address and type two words of a group say."""
    address, kind = tl.load(words), tl.load(words + 1)
    single = tl.load(address.to(tl.pointer_type(tl.float32)), mask=kind == 1, other=0.0)
    double = tl.load(address.to(tl.pointer_type(tl.float64)), mask=kind == 2, other=0.0)
    return tl.where(kind == 1, single.to(tl.float64), tl.where(kind == 2, double, otherwise))


@triton.jit
def hyper_at(RULE: tl.constexpr, group, step):
    """A group's hyper-parameters at a step."""
    schedule, last = tl.load(group + HYPER_WORDS + 4), tl.load(group + HYPER_WORDS + 5)
    at = tl.minimum(step, last)
    scheduled = (schedule + tl.where(at > 1, at - 1, 0) * (HYPER_WORDS * 8)).to(tl.pointer_type(tl.int64))
    h = load_hyper(tl.where(schedule != 0, scheduled, group), hypers_of(RULE))
    lr = read_number(group + HYPER_WORDS, h.lr)
    temperature = read_number(group + HYPER_WORDS + 2, h.temperature)
    return Hyper(lr, temperature, *h[2:])


@triton.jit
def multiplier_of(inputs, group):
    """What gradients are multiplied by."""
    inverse_scale = 1.0 / tl.load(inputs.grad_scale).to(tl.float64)
    multiplier, max_grad_norm = load_wide(group + HYPER_WORDS + 6) * inverse_scale, load_wide(group + HYPER_WORDS + 7)
    norm = norm_of(tl.load(inputs.grad_squares)) * inverse_scale
    return tl.where(max_grad_norm == 0.0, multiplier, multiplier * clip_coefficient(norm, max_grad_norm))


@triton.jit
def compensation_of(inputs, request, group, h, index):
    """The compensation term over the displacement."""
    compensation = tl.full(index.shape, 0.0, tl.float32)
    if request.counts != 0:  # else it is made from the displacements that are looked at
        if request.host_compensations != 0:
            compensation = tl.load(inputs.compensations + index)
        elif request.device_compensations != 0:
            compensates, together = tl.load(group + HYPER_WORDS + 8) != 0, tl.load(group + HYPER_WORDS + 9) != 0
            own = tl.load(inputs.ahead + index * STATISTICS + DISPLACEMENT_SQUARES)
            norm = norm_of(tl.where(together, tl.load(inputs.displacement_squares), own))
            compensation = tl.where(compensates, compensation_factor(h.compensation * h.lr, norm), 0.0)
    return compensation


@triton.jit
def step_of(inputs, request, counter, index):
    """The step that each tensor takes."""
    if request.step != 0:
        step = tl.full(index.shape, 0, tl.int64) + request.step.to(tl.uint32, bitcast=True)
    elif request.from_counters != 0:
        step = tl.load(counter, mask=counter.to(tl.int64) != 0, other=0) + 1
    else:
        step = tl.load(inputs.steps + index)
    return step


@triton.jit
def prepare_rows(RULE: tl.constexpr, inputs, request, count):
    """One program makes the rows of one block of tensors."""
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    mine, index = lane < count, tl.minimum(lane, count - 1).to(tl.int64)  # a lane too many makes the last row, and keeps nothing
    tensor = inputs.tensors + index * TENSOR_WORDS
    group = inputs.groups + tl.load(tensor + 4) * GROUP_WORDS
    counter = tl.load(tensor + 6).to(tl.pointer_type(tl.int64))
    step = step_of(inputs, request, counter, index)
    scheduled = tl.load(group + HYPER_WORDS + 4) != 0
    tl.store(inputs.overrun + index * 0, 1, mask=mine & scheduled & (step > tl.load(group + HYPER_WORDS + 5)))
    h = hyper_at(RULE, group, step)
    compensation = compensation_of(inputs, request, group, h, index)
    chain = tl.full(index.shape, 0, tl.int32) + request.chain
    row = make_row(RULE, h, multiplier_of(inputs, group), compensation, step, chain)
    store_row(RULE, inputs.rows, index, row, mine)
    if request.counts != 0:
        tl.store(counter, step, mask=mine & (counter.to(tl.int64) != 0))


@triton.jit(do_not_specialize=("count", *Request._fields), do_not_specialize_on_alignment=Inputs._fields)
def prepare_kernel(
    tensors, groups, steps, compensations, grad_scale, found_inf, grad_squares, displacement_squares, ahead, rows, overrun,
    count, chain, step, from_counters, host_compensations, device_compensations, counts, RULE: tl.constexpr,
):  # fmt: skip
    """The fields of Inputs and Request are arguments of their own: of those of a tuple Triton would specialize each."""
    if tl.load(found_inf) != 0.0:
        return
    norms = grad_squares, displacement_squares
    inputs = Inputs(tensors, groups, steps, compensations, grad_scale, found_inf, *norms, ahead, rows, overrun)
    request = Request(chain, step, from_counters, host_compensations, device_compensations, counts)
    prepare_rows(RULE, inputs, request, count)


def launch_prepare(rule: str, inputs: Inputs, request: Request) -> None:
    """Makes the scalars of every tensor of a bucket for one step, on the current stream of its device.

    Args:
        rule: the rule's name.
        inputs: on the device of the tensors.
        request: what the step asks for.
    """
    launch(call_prepare(rule, inputs, request))


def call_prepare(rule: str, inputs: Inputs, request: Request) -> Call:
    """What launch_prepare launches."""
    count = inputs.tensors.shape[0]
    words = map(signed_word, request)  # of 32 bits whatever they are: a larger integer would be of another type
    return Call(prepare_kernel, (triton.cdiv(count, LANES.value),), (*inputs, count, *words), (rule,), OPTIONS)


def signed_word(value: int) -> int:
    """The signed integer with the pattern of an unsigned one of 32 bits."""
    return value - (value >> 31 << 32)
