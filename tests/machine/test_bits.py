"""The compiled kernels step as the reference does, bit for bit: their machine code, interpreted.

QLANGEVIN_FULL=1 runs many times as many points of the matrix.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
import torch

from tests.core.cases import FACTORS, FULL, Case, all_pairs
from tests.core.kernels import DTYPES, Job, Step, compare_jobs, settings, step_reference

from .binaries import Binaries, Kernel
from .instructions import ARCHITECTURE, list_entries, program_of
from .launch import Launch, Placement
from .layout import Layout

STORAGE = ("param", "grad", "state")
# Sizes below, at and beyond rows of 256 and blocks of 4096; offsets inside and across them.
OWN = {
    "size": (1, 7, 255, 256, 257, 520, 1024),
    "offset": (0, 1, 8, 256, 4000, 2**35 - 40, 2**35 + 3, 2**51 - 2**20),
    "layout": ("one",),
    "misaligned": (False, True),
    "rows": (False, True),
    "grads": (False, True),
}
MATRIX: dict[str, tuple[Any, ...]] = {name: values for name, values in FACTORS.items() if name != "threads"} | OWN
BLOCKS = 8
RANDOM_POINTS = 20_000 if FULL else 500


@cache
def points() -> tuple[dict[str, Any], ...]:
    """All pairs, and random points."""
    draw = random.Random(1)
    return (
        *all_pairs(MATRIX, 1),
        *({name: draw.choice(values) for name, values in MATRIX.items()} for _ in range(RANDOM_POINTS)),
    )


def is_unusual(case: Case) -> bool:
    """Whether a step has what kernels of certain types leave out."""
    hypers = case.make_step().hypers
    used = [hypers[group] for group in {job.group for job in case.make_jobs()}]
    return any(h["corrected_param"] or h["grad_blocks"] or h["noise"].startswith("averaged_") for h in used)


def find_kernels(binaries: Binaries, layout: Layout, case: Case) -> list[Kernel]:
    """The kernels of a case: that for its types if there is one and the step is usual, and that for any."""
    rule = layout.kernel_of(case.rule)
    found = []
    for kernel in binaries.steps(ARCHITECTURE):
        if kernel.rule == rule and not kernel.observed:
            wanted = tuple(case[name] for name in STORAGE[: 2 + bool(kernel.states)])
            if kernel.takes_any or (kernel.storage[: len(wanted)] == wanted and not is_unusual(case)):
                found.append(kernel)
    return sorted(found, key=lambda one: one.takes_any)


def place(case: Case, jobs: Sequence[Job], stores: bool = True) -> Placement:
    """Where a case has its tensors."""
    shifts = tuple((case.seed // 7 + k) % 8 for k in (0, 3, 5, 1, 4)) if case["misaligned"] else (-jobs[0].offset % 8,)
    return Placement(shifts, case["rows"] or case["layout"] != "one", case["grads"], stores=stores)


def check_case(binaries: Binaries, layout: Layout, case: Case) -> list[str]:
    """What the kernels do differently from the reference."""
    problems = []
    kernels = find_kernels(binaries, layout, case)
    assert [one.takes_any for one in kernels] == [False] * (case["param"] == case["grad"] and not is_unusual(case)) + [True]
    for kernel in kernels:
        jobs = case.make_jobs()
        found = check_step(layout, kernel, case.make_step(), jobs, place(case, jobs))
        problems += [f"{case}: {kernel.title}: {problem}" for problem in found]
    return problems


def check_step(layout: Layout, kernel: Kernel, step: Step, jobs: list[Job], how: Placement) -> list[str]:
    """What a step of some tensors does differently from the reference."""
    wanted = [job.clone() for job in jobs]
    step_reference(step, wanted)
    return Launch(layout, program_of(kernel)).run(step, jobs, how) + compare_jobs(jobs, wanted)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are stepped faster by one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_machine_code_equals_reference(binaries: Binaries, layout: Layout, block: int) -> None:
    cases = [Case(1000 * seed, row) for seed, row in enumerate(points())][block::BLOCKS]
    problems = [problem for case in cases for problem in check_case(binaries, layout, case)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


EVERYTHING = {"lr": 0.1, "temperature": 1.0, "noise": "gaussian", "stochastic_param": True, "stochastic_state": True}
EVERYTHING |= {"corrected_param": False, "grad_blocks": False}
OF_KERNELS = ("plain", "momentum", "rmsprop", "adam", "adam amsgrad", "adadelta")
OF_KERNELS += ("rmsprop centred", "rmsprop momentum", "rmsprop centred momentum")


def test_every_kernel_equals_reference(binaries: Binaries, layout: Layout) -> None:
    """Every instantiation with everything on, over whole and partial rows."""
    problems = []
    base = dict(points()[0]) | EVERYTHING | {"values": "special", "offset": 0, "size": 520, "misaligned": False}
    for row in OF_KERNELS:
        for seed, param in enumerate(FACTORS["param"]):
            for grad in FACTORS["grad"]:
                for state in FACTORS["state"]:
                    case = Case(1000 * seed, base | {"row": row, "param": param, "grad": grad, "state": state})
                    problems += check_case(binaries, layout, case)
    assert not problems, "\n".join(problems[:5])


@pytest.mark.parametrize(("skip", "moved"), [(None, True), (0, True), (1, False)])
def test_a_skipped_step_does_nothing(binaries: Binaries, layout: Layout, skip: int | None, moved: bool) -> None:
    row = points()[0] | EVERYTHING | {"row": "plain", "values": "normal", "size": 256, "offset": 0}
    case = Case(0, row)
    step: Step = case.make_step()
    (job,) = case.make_jobs()
    kernel = find_kernels(binaries, layout, case)[0]
    before = job.clone()
    Launch(layout, program_of(kernel)).run(step, [job], Placement(skip=skip))
    job.steps -= 1
    assert bool(compare_jobs([job], [before])) == moved


def test_several_tensors_and_groups(binaries: Binaries, layout: Layout) -> None:
    """Blocks of several tensors in one launch, an empty one among them."""
    row = points()[0] | EVERYTHING | {"row": "momentum", "layout": "several", "size": 300, "values": "normal", "offset": 4000}
    for seed, (rows, grads) in enumerate([(True, False), (True, True)]):
        assert check_case(binaries, layout, Case(1000 * seed, row | {"rows": rows, "grads": grads})) == []


@pytest.mark.parametrize("rounding", [name for name in FACTORS["grad_rounding"] if name != "off"])
def test_values_on_and_between_the_points_of_a_grid(binaries: Binaries, layout: Layout, rounding: str) -> None:
    """Ties are what random values never are."""
    h = settings(grad_rounding=rounding, grad_resolution=64.0, update_rounding=rounding, update_resolution=128.0)
    for entry in list_entries(binaries.steps(ARCHITECTURE)):
        kernel = entry.kernel
        param, grad, *states = (DTYPES[name] for name in entry.storage)
        ties = torch.arange(-128, 128) / 128
        zeros = [torch.zeros(256, dtype=states[0]) for _ in range(kernel.states)]
        jobs = [Job(torch.zeros(256, dtype=param), ties.to(grad), zeros, key=7)]
        assert check_step(layout, kernel, Step(kernel.rule, [h]), jobs, Placement()) == [], entry.title
