"""Triton's machine code steps as the reference does, bit for bit, and takes no more instructions than the table says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from qlangevin.reference_rules import RULES
from qlangevin.triton_kernels.step import KERNELS

from ..core.cases import FACTORS, FULL, Case, all_pairs
from ..core.kernels import DTYPES, Job, Step, compare_jobs, settings, step_reference
from ..machine.instructions import list_growth, read_table
from ..machine.tools import MissingToolError, find
from .compiled import Compiled, Specialization, compile_all, compile_kernel, take_specializations
from .machine import ARCHITECTURE, OWN_TABLE, PAGE, TritonLaunch, count_kernel, list_counted, program_of, write_page

try:
    find("cuobjdump"), find("nvdisasm")
except MissingToolError as error:
    pytest.skip(str(error), allow_module_level=True)

MATRIX: dict[str, tuple[Any, ...]] = {name: values for name, values in FACTORS.items() if name != "threads"} | {
    "size": (1, 7, 255, 256, 257, 600),
    "offset": (0, 1, 8, 256, 4000, 2**35 - 40, 2**35 + 3, 2**51 - 2**20),
    "misaligned": (False, True),
}
RANDOM_CASES = 3000 if FULL else 150
SPECIALIZATIONS = take_specializations()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def kernels() -> dict[Specialization, Compiled]:
    return dict(zip(SPECIALIZATIONS, compile_all(SPECIALIZATIONS, ARCHITECTURE), strict=True))


def check_step(compiled: Compiled, step: Step, jobs: list[Job], shifts: tuple[int, ...] = (0,)) -> list[str]:
    """What a step does differently from the reference."""
    wanted = [job.clone() for job in jobs]
    step_reference(step, wanted)
    return TritonLaunch(program_of(compiled)).run(step, jobs, shifts) + compare_jobs(jobs, wanted)


def specialization_of(case: Case) -> Specialization:
    state = DTYPES[case["state"]] if RULES[case.rule].states else torch.float32
    return Specialization(KERNELS[case.rule], DTYPES[case["param"]], DTYPES[case["grad"]], state)


def check_case(kernels: dict[Specialization, Compiled], case: Case) -> list[str]:
    if specialization_of(case) not in kernels:  # gradients of its parameter's type in the place of another
        case = replace(case, values={**case.values, "grad": case["param"]})
    compiled = kernels[specialization_of(case)]
    jobs = case.make_jobs()
    shifts = tuple((case.seed // 7 + k) % 8 for k in (0, 3, 5)) if case["misaligned"] else (-jobs[0].offset % 8,)
    return [f"{case}: {problem}" for problem in check_step(compiled, case.make_step(), jobs, shifts)]


@pytest.mark.parametrize("block", range(4))
def test_machine_code_equals_the_reference(kernels: dict[Specialization, Compiled], block: int) -> None:
    draw = random.Random(2)
    points = [*all_pairs(MATRIX, 2), *({name: draw.choice(v) for name, v in MATRIX.items()} for _ in range(RANDOM_CASES))]
    cases = [Case(1000 * seed, row, large=300) for seed, row in enumerate(points)][block::4]
    problems = [problem for case in cases for problem in check_case(kernels, case)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


EVERYTHING: dict[str, Any] = {"temperature": 1.0, "noise": "gaussian", "stochastic_param": True, "stochastic_state": True}
EVERYTHING |= {"weight_decay": 0.1, "update_rounding": "stochastic", "update_resolution": 1e4, "momentum": 0.9}


@pytest.mark.parametrize("one", SPECIALIZATIONS, ids=lambda one: one.title)
def test_every_kernel_with_everything_on(kernels: dict[Specialization, Compiled], one: Specialization) -> None:
    """Whole and partial rows, of two chunks."""
    generator = torch.Generator().manual_seed(1)
    types = [one.param, one.grad, *[one.state] * one.states]
    param, grad, *states = [torch.randn(700, generator=generator).to(dtype) for dtype in types]
    job = Job(param, grad, states, key=2**64 - 3, offset=4096 - 256)
    assert check_step(kernels[one], Step(one.kernel, [settings(lr=0.1, **EVERYTHING)], chain=7), [job]) == []


@pytest.mark.parametrize("shift", range(1, 8))
def test_tensors_that_lie_beside_16_bytes_alike(kernels: dict[Specialization, Compiled], shift: int) -> None:
    """Quads there are an error of the interpreted memory, as they are on a GPU."""
    for one in (SPECIALIZATIONS[0], Specialization("momentum", torch.bfloat16, torch.bfloat16, torch.bfloat16)):
        types = [one.param, one.grad, *[one.state] * one.states]
        param, grad, *states = [torch.full((600,), 1.5).to(dtype) for dtype in types]
        assert check_step(kernels[one], Step(one.kernel, [settings()]), [Job(param, grad, states)], (shift,)) == []


@pytest.mark.parametrize(("found_inf", "moved"), [(0.0, True), (1.0, False), (float("nan"), False)])
def test_a_skipped_step_does_nothing(kernels: dict[Specialization, Compiled], found_inf: float, moved: bool) -> None:
    one = SPECIALIZATIONS[0]
    job = Job(torch.ones(256, dtype=one.param), torch.ones(256, dtype=one.grad))
    assert TritonLaunch(program_of(kernels[one])).run(Step("plain", [settings()]), [job], found_inf=found_inf) == []
    assert bool((job.param != 1).all()) == moved and bool((job.param == 1).all()) != moved


def test_an_offset_beyond_32_bits_in_memory(kernels: dict[Specialization, Compiled]) -> None:
    """The last row of a tensor of 2^33 elements; the memory before it does not exist here."""
    one = SPECIALIZATIONS[0]
    launch, rows = TritonLaunch(program_of(kernels[one])), 256
    job = Job(torch.ones(rows), torch.ones(rows))
    placed = launch.place([job], (0,))[0]
    from .launching import make_tables

    made = make_tables(Step("plain", [settings()]), [job])
    far = 2**33
    made.tensors[0, 1], made.tensors[0, 0] = far, placed[0].address - 4 * (far - rows)
    made.grads[0] = placed[1].address - 4 * (far - rows)
    made.chunks[0, 1] = far - rows  # a chunk that begins inside its block
    addresses = b"".join(launch.add(name, table) for name, table in made._asdict().items())
    launch.start(addresses, 1)
    assert placed[0].take() == []
    assert bool((job.param == 0.875).all())


def test_the_page_says_what_the_table_says() -> None:
    table = read_table(OWN_TABLE)
    assert list(table) == sorted(one.title for one in list_counted())
    assert PAGE.read_text() == write_page(table)


def test_no_kernel_takes_more_instructions_than_the_table_says(kernels: dict[Specialization, Compiled]) -> None:
    """The table is of Triton 3.9; another version makes other code."""
    import triton

    if not triton.__version__.startswith("3.9."):
        pytest.skip(f"the table was not made by Triton {triton.__version__}")
    table, found = read_table(OWN_TABLE), []
    with np.errstate(all="ignore"):
        for one in list_counted():
            counted, known = count_kernel(kernels[one]), table[one.title]
            found += list_growth(one.title, counted, known)
    assert not found, "\n".join(found)


def test_a_kernel_is_compiled_once() -> None:
    assert compile_kernel(SPECIALIZATIONS[0], ARCHITECTURE) is compile_kernel(SPECIALIZATIONS[0], ARCHITECTURE)
