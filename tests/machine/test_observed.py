"""The compiled kernels that see what a step does: their machine code, interpreted, steps and sees as the reference does."""

from __future__ import annotations

import pytest

from tests.core.cases import Case
from tests.core.kernels import compare_jobs
from tests.core.test_statistics import equal, observe_reference

from .binaries import Binaries, Kernel
from .instructions import ARCHITECTURE, program_of
from .launch import Launch, count_tasks
from .layout import Layout
from .test_bits import BLOCKS, is_unusual, place, points

EVERY = 16  # of the points


def find_observed(binaries: Binaries, rule: str) -> Kernel:
    """The one kernel of a rule, whatever the storage types."""
    (found,) = [one for one in binaries.steps(ARCHITECTURE) if one.rule == rule and one.observed]
    return found


def check_case(binaries: Binaries, layout: Layout, case: Case, stores: bool) -> list[str]:
    """What a kernel does or sees differently from the reference; the numbers of several tasks another kernel adds."""
    jobs, step = case.make_jobs(), case.make_step()
    for job in jobs:
        job.compensation *= stores  # it is made from what is seen ahead
    wanted = [job.clone() for job in jobs]
    statistics = observe_reference(step, wanted, stores)
    launch = Launch(layout, program_of(find_observed(binaries, layout.kernel_of(case.rule))))
    problems = launch.run(step, jobs, place(case, jobs, stores)) + compare_jobs(jobs, wanted)
    if count_tasks(jobs) == len(jobs) == 1:
        pairs = zip(launch.seen[0], statistics[0], strict=True)
        problems += [f"saw {got!r}, wanted {known!r}" for got, known in pairs if not equal(got, known)]
    return [f"{case}: {problem}" for problem in problems]


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("block", range(BLOCKS))
def test_what_is_seen_equals_the_reference(binaries: Binaries, layout: Layout, block: int, stores: bool) -> None:
    cases = [Case(1000 * seed, row) for seed, row in enumerate(points())][block * EVERY // BLOCKS :: EVERY]
    cases = [case for case in cases if not is_unusual(case)]  # whose observed kernels are proven on the host alone
    problems = [problem for case in cases for problem in check_case(binaries, layout, case, stores)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def test_most_cases_are_of_one_task() -> None:
    counts = [count_tasks(Case(1000 * seed, row).make_jobs()) for seed, row in enumerate(points()[:100])]
    assert counts.count(1) > 50
