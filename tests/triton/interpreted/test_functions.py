"""The element functions over all patterns of the storage types and over chosen binary32 numbers: Triton = reference."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from qlangevin import reference_correct, reference_grids, reference_numbers, reference_root
from qlangevin.triton_kernels import correct, draw, root, rounding

from ...core.cases import make_values
from ...core.kernels import DTYPES, ROUNDING_CODES, bits_of, find_difference

COUNT = 1 << 16
BLOCK = tl.constexpr(COUNT)
CODES = {"float32": 0, "bfloat16": 1, "float16": 2}


@triton.jit
def widen_kernel(patterns, values, STORAGE: tl.constexpr):
    at = tl.arange(0, BLOCK)
    bits = tl.load(patterns + at).to(tl.uint32, bitcast=True)
    tl.store(values + at, rounding.widen(STORAGE, bits))


@triton.jit
def round_kernel(values, halves, patterns, STORAGE: tl.constexpr, RANDOM: tl.constexpr):
    at = tl.arange(0, BLOCK)
    half = tl.load(halves + at).to(tl.uint32, bitcast=True)
    bits = rounding.round_to(STORAGE, tl.load(values + at), RANDOM, half)
    if STORAGE == 1:  # in the upper half
        bits = bits >> 16
    tl.store(patterns + at, bits.to(tl.int32, bitcast=True))


@triton.jit
def quantize_kernel(values, halves, grid, results, ROUNDING: tl.constexpr):
    at = tl.arange(0, BLOCK)
    half = tl.load(halves + at).to(tl.uint32, bitcast=True)
    result = rounding.quantize(tl.load(values + at), ROUNDING, tl.load(grid), tl.load(grid + 1), half)
    tl.store(results + at, result)


@triton.jit
def block_kernel(values, largest, halves, grid, results, ROUNDING: tl.constexpr):
    at = tl.arange(0, BLOCK)
    half, pattern = tl.load(halves + at).to(tl.uint32, bitcast=True), rounding.pattern_of_magnitude(tl.load(largest + at))
    tl.store(results + at, rounding.quantize_block(tl.load(values + at), ROUNDING, tl.load(grid), pattern, half))


@triton.jit
def noise_kernel(words, results, KIND: tl.constexpr):
    at = tl.arange(0, BLOCK)
    word = tl.load(words + at).to(tl.uint32, bitcast=True)
    if KIND == 1:
        result = draw.gaussian(word)
    elif KIND == 2:
        result = draw.uniform(word)
    else:
        result = draw.rademacher(word)
    tl.store(results + at, result)


@triton.jit
def root_kernel(values, results):
    at = tl.arange(0, BLOCK)
    tl.store(results + at, root.inverse_root(tl.load(values + at)))


@triton.jit
def correct_kernel(means, scales, noises, halves, results, STORED: tl.constexpr):
    at = tl.arange(0, BLOCK)
    half = tl.load(halves + at).to(tl.uint32, bitcast=True)
    result = correct.correct(STORED, tl.load(means + at), tl.load(scales + at), tl.load(noises + at), half)
    tl.store(results + at, result)


def draw_halves(seed: int) -> Tensor:
    return torch.randint(0, COUNT, (COUNT,), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


def make_numbers(kind: str) -> Tensor:
    """Binary32 numbers; "patterns" are those whose upper halves are all there are, so every exponent and NaN."""
    if kind == "patterns":
        return ((torch.arange(COUNT, dtype=torch.int64) << 16 | draw_halves(8)) - (1 << 31)).to(torch.int32).view(torch.float32)
    if kind == "edges":  # around the largest and smallest numbers of fp16, and Inf's signalling neighbours
        around = [0x7F7F0000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x477FE000, 0x477FF000, 0x38800000, 0x33000000, 0x00800000, 0]
        numbers = [max(base + k, 0) for base in around for k in range(-1600, 1600)]
        return torch.tensor((numbers * 3)[:COUNT], dtype=torch.int64).to(torch.int32).view(torch.float32)
    return make_values(kind, COUNT, "float32", 5)


@pytest.mark.parametrize("storage", CODES)
def test_widening_every_pattern(storage: str) -> None:
    dtype, got = DTYPES[storage], torch.empty(COUNT)
    patterns = bits_of(make_numbers("patterns")) if storage == "float32" else torch.arange(COUNT, dtype=torch.int32)
    wanted = patterns.to(torch.int16 if dtype.itemsize == 2 else torch.int32).view(dtype).float()
    widen_kernel[(1,)](patterns.clone(), got, CODES[storage])
    assert find_difference(got, wanted) is None


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("storage", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["patterns", "edges", "normal", "special", "subnormal"])
def test_rounding(kind: str, storage: str, random: bool) -> None:
    values, halves = make_numbers(kind), draw_halves(1)
    got = torch.empty(COUNT, dtype=torch.int32)
    round_kernel[(1,)](values, halves, got, CODES[storage], random)
    wanted = reference_numbers.round_to(values, DTYPES[storage], halves.long() if random else None)
    assert find_difference(got.to(torch.int16).view(DTYPES[storage]), wanted) is None


@pytest.mark.parametrize("mode", [mode for mode in ROUNDING_CODES if mode != "off"])
@pytest.mark.parametrize("resolution", [1.0, 64.0, 1e4])
@pytest.mark.parametrize("kind", ["patterns", "wide", "special"])
def test_quantizing(kind: str, resolution: float, mode: str) -> None:
    values, halves, got = make_numbers(kind), draw_halves(2), torch.empty(COUNT)
    spacing = reference_numbers.round_once(1.0 / resolution)
    quantize_kernel[(1,)](values, halves, torch.tensor([resolution, spacing]), got, ROUNDING_CODES[mode])
    wanted = reference_grids.quantize(values, mode, resolution, spacing, halves.long())
    assert find_difference(got, wanted) is None


@pytest.mark.parametrize("mode", [mode for mode in ROUNDING_CODES if mode != "off"])
@pytest.mark.parametrize("bits", [3, 8, 23])
@pytest.mark.parametrize("kind", ["patterns", "special", "subnormal"])
def test_quantizing_blocks(kind: str, bits: int, mode: str) -> None:
    values, halves, got, spacing = make_numbers("wide"), draw_halves(2), torch.empty(COUNT), 2.0 ** (2 - bits)
    largest = make_numbers(kind).abs()
    block_kernel[(1,)](values, largest, halves, torch.tensor([spacing]), got, ROUNDING_CODES[mode])
    wanted = reference_grids.quantize_block(values, mode, spacing, largest, halves.long())
    assert find_difference(got, wanted) is None


@pytest.mark.parametrize(("name", "kind"), [("gaussian", 1), ("uniform", 2), ("rademacher", 3)])
def test_noise_values(name: str, kind: int) -> None:
    words = bits_of(make_numbers("patterns")) if name == "gaussian" else torch.arange(COUNT, dtype=torch.int32)
    got = torch.empty(COUNT)
    noise_kernel[(1,)](words, got, kind)
    wanted = getattr(reference_numbers, name)(words.long() & 0xFFFFFFFF)
    assert find_difference(got, wanted) is None


@pytest.mark.parametrize("kind", ["patterns", "edges", "normal", "subnormal", "zero"])
def test_inverse_roots(kind: str) -> None:
    """Of negative numbers and NaN too, which nobody asks for."""
    values, got = make_numbers(kind), torch.empty(COUNT)
    root_kernel[(1,)](values, got)
    assert find_difference(got, reference_root.inverse_root(values)) is None


@pytest.mark.parametrize("storage", CODES)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.3, 1.0, 40.0, float("inf")])
@pytest.mark.parametrize("kind", ["patterns", "edges", "normal", "special", "subnormal"])
def test_corrected_values(kind: str, scale: float, storage: str) -> None:
    """The noise's scale goes with the spacing at the mean, and is the wide and the narrow one's alike."""
    means, noises, halves = make_numbers(kind), make_values("normal", COUNT, "float32", 6), draw_halves(3)
    of_one = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}[storage]
    scales, got = means.abs() * of_one * scale, torch.empty(COUNT)
    correct_kernel[(1,)](means, scales, noises, halves, got, CODES[storage])
    half = None if storage == "float32" else halves.long()
    assert find_difference(got, reference_correct.correct(DTYPES[storage], means, scales, noises, half)) is None
