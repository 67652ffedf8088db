"""The CUDA kernels' own source, executed on the host = reference, bit for bit, over the CPU's parity matrix (tier T4).

Every case is stepped in four ways: counters on the host, where the scalars stand among the arguments if they can, and on the
device, where a kernel makes them; each of them observed or not. All ways write over guarded memory.
"""

from __future__ import annotations

import itertools

import pytest
from torch import Tensor

from qlangevin import reference_rules
from qlangevin.triton_kernels.rules import KERNELS
from tests.core.cases import CASES, Case
from tests.core.kernels import DTYPES, Job, bits_of, compare_jobs, step_reference
from tests.core.test_parity import cases, check_guards, guard

from .on_host import needs_gpu_on_host, step_on_host

BLOCK = 150
TENSORS = 2 + max(len(rule.states) for rule in reference_rules.RULES.values())
WAYS = {
    f"counters on the {'device' if on_device else 'host'}{', observed' * observes}": (on_device, observes)
    for on_device, observes in itertools.product((False, True), repeat=2)
}

pytestmark = needs_gpu_on_host


def misalignments(case: Case, way: int, offset: int) -> list[int]:
    """In elements, of parameter, gradient, states: whole rows lie on 16 bytes in one half of the ways, in none in the other."""
    if is_aligned(case, way):
        return [offset % 8] * TENSORS
    first = case.seed // 1000 % 7
    return [(offset + 1 + (first + k) % 7) % 8 for k in (0, 3, 5, 1, 4)]


def is_aligned(case: Case, way: int) -> bool:
    """Observed or not, every case is stepped aligned and not."""
    return (case.seed // 1000 + way // 2) % 2 == 0


def guard_job(job: Job, shifts: list[int]) -> tuple[list[Tensor], Job]:
    """The job in guarded buffers."""
    tensors = (job.param, job.grad, *job.states)
    buffers, insides = zip(*(guard(one, shift) for one, shift in zip(tensors, shifts[: len(tensors)], strict=True)), strict=True)
    moved = job.clone()
    moved.param, moved.grad, moved.states = insides[0], insides[1], list(insides[2:])
    return [buffers[0], *buffers[2:]], moved


def check_way(case: Case, way: int, fresh: list[Job], wanted: list[Job]) -> list[str]:
    """What one way does differently from the reference."""
    buffers, jobs = zip(*(guard_job(job, misalignments(case, way, job.offset)) for job in fresh), strict=True)
    on_device, observes = list(WAYS.values())[way]
    step_on_host(case.make_step(), jobs, on_device, observes)
    found = compare_jobs(jobs, wanted)
    for one, job, original in zip(buffers, jobs, fresh, strict=True):
        found += check_guards(one, job)
        if not bits_of(job.grad).equal(bits_of(original.grad)):
            found.append("a gradient was written")
    return found


def check_case(case: Case) -> list[str]:
    fresh = case.make_jobs()
    wanted = [job.clone() for job in fresh]
    step_reference(case.make_step(), wanted)
    return [f"{case}: {name}: {problem}" for way, name in enumerate(WAYS) for problem in check_way(case, way, fresh, wanted)]


@pytest.mark.parametrize("block", range(-(-CASES // BLOCK)))
def test_the_kernels_equal_the_reference(block: int) -> None:
    problems = [problem for case in cases()[block * BLOCK : (block + 1) * BLOCK] for problem in check_case(case)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def reached(case: Case) -> set[tuple[str, str, str]]:
    """Rule and types of a case's kernel, if it moves whole rows of 256 elements: on 16 bytes in one way, shifted in another."""
    whole = case["size"] - -case["offset"] % 256 >= 256
    if not whole or case["lr"] == 0.0:
        return set()
    state = case["state"] if reference_rules.RULES[case.rule].states else "float32"
    h = case.make_step().hypers[0]
    usual = not (h["corrected_param"] or h["grad_blocks"] or h["noise"].startswith("averaged_"))
    known = usual and case["param"] == case["grad"]
    return {(KERNELS[case.rule], case["param"], state) if known else (KERNELS[case.rule], "any", "any")}


def test_the_cases_reach_every_kernel() -> None:
    rules = set(KERNELS.values())
    wanted = {("plain", param, "float32") for param in DTYPES} | {(rule, "any", "any") for rule in rules}
    wanted |= {(rule, param, state) for rule in rules - {"plain"} for param in DTYPES for state in ("float32", "bfloat16")}
    assert set().union(*map(reached, cases())) == wanted


@pytest.mark.parametrize("size", [2, 4])
def test_the_ways_differ_in_alignment(size: int) -> None:
    """An address where a row of 256 elements would begin, in a tensor that begins at 0 or misaligned."""
    for case in cases()[:50]:
        for way in range(len(WAYS)):
            rows = [(shift - case["offset"]) * size % 16 for shift in misalignments(case, way, case["offset"])]
            assert (rows == [0] * TENSORS) == is_aligned(case, way)
        assert {is_aligned(case, way) for way in (0, 2)} == {is_aligned(case, way) for way in (1, 3)} == {False, True}
