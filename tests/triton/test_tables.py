"""The host's tables: chunks as csrc/core/plan.h makes them, rows as csrc/core/scalars.h lays them out in memory."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from qlangevin import reference, reference_rules
from qlangevin.backends import native_form
from qlangevin.triton_kernels import tables
from qlangevin.triton_kernels.folds import make_folds
from qlangevin.triton_kernels.scalars import Scalars

from ..core.cases import RULE_ROWS
from ..core.kernels import make_hyper, settings
from ..cuda.on_host import gpu, needs_gpu_on_host
from ..machine.layout import load_layout
from ..machine.tools import MissingToolError
from .launching import make_rows

CHUNK = tables.CHUNK.value
FLAGS = [{name: name == one for name in Scalars._fields[13:]} for one in Scalars._fields[13:]]  # each of them alone


def make_chunks(extents: list[tuple[int, int]]) -> list[list[int]]:
    """make_chunks of plan.h, a tensor and its beginning each."""
    chunks = []
    for tensor, (size, offset) in enumerate(extents):
        begin = 0
        while begin < size:
            chunks.append([tensor, begin])
            begin += min(CHUNK - (offset + begin) % CHUNK, size - begin)
    return chunks


@pytest.mark.parametrize("seed", range(50))
def test_chunks_end_at_multiples_of_the_index_in_the_unsharded_tensor(seed: int) -> None:
    draw = random.Random(seed)
    sizes, offsets = (0, 1, 8, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 50_000), (0, 1, CHUNK - 1, CHUNK, CHUNK + 5, 2**51 + 17)
    extents = [(draw.choice(sizes), draw.choice(offsets)) for _ in range(draw.randrange(6))]
    assert tables.make_chunks(extents).tolist() == make_chunks(extents)


def test_bad_extents_are_refused() -> None:
    for extent in ((-1, 0), (1, -1)):
        with pytest.raises(ValueError, match="negative"):
            tables.make_chunks([extent])


@pytest.mark.parametrize("name", RULE_ROWS)
def test_rows_lie_in_memory_as_those_of_the_native_code(name: str) -> None:
    try:
        layout = load_layout()
    except MissingToolError as error:
        pytest.skip(str(error))
    rule, own = RULE_ROWS[name]
    changes = {"temperature": 0.3, "weight_decay": 0.1, "noise": "uniform", "grad_rounding": "dither", "grad_resolution": 64.0}
    for number, flags in enumerate(FLAGS):
        h = settings(**own, **changes, update_rounding="floor", **flags)
        row = reference.make_row(reference_rules.RULES[rule], h, 0.37, 2**32 - 1, 2**32 - 5)
        row = reference.replace(row, common=reference.replace(row.common, compensation=0.5))
        wanted = layout.make_row(rule, h, 0.37, 2**32 - 1, 2**32 - 5, 0.5)
        found = make_rows(layout.kernel_of(rule), [row, row])
        assert found.shape == (2, len(wanted) // 4) == (2, tables.row_words(rule)) and found.dtype == torch.int32, number
        assert bytes(found[1].numpy().tobytes()) == wanted


def test_the_codes_are_those_of_the_native_code() -> None:
    assert tables.NOISE_CODES == native_form.NOISE_CODES and tables.ROUNDING_CODES == native_form.ROUNDING_CODES


def test_keys_of_64_bits_fit_their_table() -> None:
    (row,) = tables.make_tensors([tables.Part(2**47 - 16, 5, 2**51, 2**64 - 1, 3, True, (16, 32), 48)]).tolist()
    assert row == [2**47 - 16, 5, 2**51, -1, 3, 1, 48, 16, 32, 0, 0]
    assert tables.make_tensors([]).shape == (0, tables.TENSOR_WORDS.value)


def plan_folds(extents: list[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]], int]:
    """Plan::plan_tasks of csrc/cuda/plan.cpp, line by line."""
    folds: list[list[int]] = []
    last_folds: list[list[int]] = []
    tasks = segments = 0
    for tensor, (size, offset) in enumerate(extents):
        first, blocks = tasks, len(range(offset // CHUNK, -(-(offset + size) // CHUNK))) if size else 0
        tasks += blocks
        if blocks <= CHUNK:
            folds.append([first, blocks, tensor])
            continue
        last_folds.append([len(extents) + segments, -(-blocks // CHUNK), tensor])
        at = 0
        while at < blocks:
            folds.append([first + at, min(CHUNK, blocks - at), len(extents) + segments])
            at, segments = at + CHUNK, segments + 1
    return folds, last_folds, segments


LONG = CHUNK * CHUNK  # elements of as many chunks as one sum takes


@pytest.mark.parametrize("seed", range(50))
def test_folds_are_those_of_the_native_plan(seed: int) -> None:
    draw = random.Random(seed)
    sizes = (0, 1, CHUNK, 3 * CHUNK + 1, LONG - 1, LONG, LONG + 1, 2 * LONG, 2 * LONG + 5, LONG * (CHUNK - 1))
    extents = [(draw.choice(sizes), draw.choice((0, 1, CHUNK - 1, CHUNK, 2**51 + 17))) for _ in range(draw.randrange(6))]
    folds, last_folds, segments = make_folds(extents)
    assert (folds.tolist(), last_folds.tolist(), segments) == plan_folds(extents)
    assert folds.shape[1:] == last_folds.shape[1:] == (3,) and folds.dtype == last_folds.dtype == torch.int64


def test_folds_name_chunks_as_the_table_of_chunks_has_them() -> None:
    extents = [(5, 3), (0, 0), (3 * CHUNK, 7), (CHUNK, CHUNK)]
    chunks = tables.make_chunks(extents)[:, 0].tolist()
    for first, count, tensor in make_folds(extents)[0].tolist():
        assert chunks[first : first + count] == [tensor] * count == [one for one in chunks if one == tensor]


def test_a_tensor_that_three_levels_cannot_sum_is_refused() -> None:
    make_folds([(CHUNK * LONG, 0)])
    for extent in ((CHUNK * LONG + 1, 0), (CHUNK * LONG, 1)):
        with pytest.raises(ValueError, match=r"2\^36"):
            make_folds([extent])


@needs_gpu_on_host
@pytest.mark.parametrize("name", RULE_ROWS)
def test_hypers_lie_in_memory_as_the_native_module_packs_them(name: str) -> None:
    rule, own = RULE_ROWS[name]
    changes: dict[str, Any] = {
        "lr": 0.3,
        "temperature": 0.7,
        "weight_decay": 0.1,
        "decoupled_weight_decay": 0.2,
        "compensation": 0.5,
    }
    changes |= {"grad_rounding": "dither", "grad_resolution": 64.0, "update_rounding": "floor", "update_resolution": 100.0}
    for flags in FLAGS:
        h = settings(**own, **changes, noise="averaged_uniform", **flags)
        packed = tables.pack_hyper(h, reference_rules.RULES[rule].hypers)
        assert packed == gpu.pack_hypers([make_hyper(rule, h)]) and len(packed) == 8 * tables.HYPER_WORDS.value


def test_a_group_has_a_word_for_each_of_its_facts_behind_its_hypers() -> None:
    hyper = tables.pack_hyper(settings(), ())
    group = tables.Group(hyper, (48, "float64"), (64, "float32"), 80, 5, 0.5, 2.0, True, False)
    table = tables.make_groups([tables.Group(hyper), group])
    assert table.shape == (2, tables.GROUP_WORDS.value)
    own = tables.HYPER_WORDS.value
    assert table[1, own:].tolist()[:6] == [48, 2, 64, 1, 80, 5] and table[1, own + 8 :].tolist() == [1, 0]
    assert table[:, own + 6 : own + 8].view(torch.float64).tolist() == [[1.0, 0.0], [0.5, 2.0]]
    assert table[0, own:].tolist()[:6] == [0] * 6 and table[0].numpy().tobytes()[: len(hyper)] == hyper
