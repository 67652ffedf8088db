"""Native steps beside other threads and in forked processes."""

from __future__ import annotations

import hashlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch

from .kernels import Job, Step, make_plan, run_plan, settings

STEP = Step("momentum", [settings(lr=0.01, temperature=1.0, momentum=0.9, stochastic_param=True)])
TIMEOUT = 60.0  # seconds; the step takes milliseconds, and a deadlock takes for ever


def new_jobs() -> list[Job]:
    generator = torch.Generator().manual_seed(2)
    sizes = (70_000, 3, 50_000, 40_000)
    return [Job(*(torch.randn(size, generator=generator) for _ in range(2)), [torch.zeros(size)], key=size) for size in sizes]


def digest(jobs: list[Job]) -> bytes:
    content = b"".join(tensor.numpy().tobytes() for job in jobs for tensor in (job.param, *job.states))
    return hashlib.sha256(content).digest()


def run_in_child(task: Callable[[], bytes]) -> bytes:
    """What the task returns in a forked child. A task may not ask torch for work: torch's own threads are gone there."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sender, task())
        finally:
            os._exit(0)
    os.close(sender)
    try:
        ready, _, _ = select.select([receiver], [], [], TIMEOUT)
        assert ready, f"the child hung for {TIMEOUT} s"
        return os.read(receiver, 64)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(receiver)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
@pytest.mark.parametrize("generations", [1, 2])
def test_a_forked_child_steps_with_threads_and_gives_the_same_bits(generations: int) -> None:
    """The parent's pool has threads when it forks; the child has none of them. A child of the child as well."""
    jobs, others = new_jobs(), new_jobs()
    plan, other_plan = make_plan("momentum", jobs), make_plan("momentum", others)
    run_plan(plan, STEP, jobs, threads=4)

    def step_in_child() -> bytes:
        run_plan(plan, STEP, jobs, threads=4)
        return digest(jobs)

    def step_in_grandchild() -> bytes:
        run_plan(other_plan, STEP, others, threads=4)
        return run_in_child(step_in_child)

    got = run_in_child(step_in_child if generations == 1 else step_in_grandchild)
    run_plan(plan, STEP, jobs, threads=4)  # the parent's pool still works
    assert got == digest(jobs)


@needs_fork
def test_a_child_that_was_forked_during_a_step_can_step() -> None:
    """Another thread holds the pool while this one forks; in the child nobody would ever give it back."""
    size = 4_000_000
    busy = Job(torch.zeros(size), torch.zeros(size), [torch.zeros(size)])
    busy_plan, stop = make_plan("momentum", [busy]), threading.Event()

    def keep_stepping() -> None:
        while not stop.is_set():
            run_plan(busy_plan, STEP, [busy], threads=3)

    jobs = new_jobs()
    plan = make_plan("momentum", jobs)

    def step_in_child() -> bytes:
        run_plan(plan, STEP, jobs, threads=4)
        return digest(jobs)

    stepper = threading.Thread(target=keep_stepping)
    stepper.start()
    try:
        got = set()
        for _ in range(5):
            time.sleep(0.01)
            got.add(run_in_child(step_in_child))
    finally:
        stop.set()
        stepper.join()
    run_plan(plan, STEP, jobs, threads=4)
    assert got == {digest(jobs)}


@needs_fork
def test_workers_that_were_born_flushing_keep_subnormals() -> None:
    """A thread inherits the flags of the one that starts it; in a child the pool is started anew."""
    size = 200_000
    values = torch.full((size,), 1e-39)
    job = Job(values.clone(), values.clone(), [values.clone()])
    plan, wanted = make_plan("plain", [Job(values, values)]), Job(values.clone(), values.clone(), [values.clone()])
    step = Step("momentum", [settings(lr=0.5, momentum=0.5)])
    squares = [float((values.double() ** 2).sum())]

    def step_in_child() -> bytes:
        if not torch.set_flush_denormal(True):
            return b"torch cannot flush here"
        summed = plan.square_grads([values.data_ptr()], 4)
        run_plan(make_plan("momentum", [job]), step, [job], threads=4)
        torch.set_flush_denormal(False)
        return digest([job]) + str(math.isclose(summed[0], squares[0], rel_tol=1e-9)).encode()

    got = run_in_child(step_in_child)
    if got.startswith(b"torch"):
        pytest.skip(got.decode())
    run_plan(make_plan("momentum", [wanted]), step, [wanted], threads=1)
    assert got == digest([wanted]) + b"True"


def test_other_python_threads_run_during_a_step() -> None:
    """With a huge switch interval the sleeping thread counts only while the step has released the interpreter's lock."""
    job = Job(torch.zeros(8_000_000), torch.zeros(8_000_000), [torch.zeros(8_000_000)])
    plan = make_plan("momentum", [job], "portable")
    ticks, stop = [0], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            time.sleep(1e-4)
            ticks[0] += 1

    interval = sys.getswitchinterval()
    ticker = threading.Thread(target=tick)
    try:
        ticker.start()
        time.sleep(0.01)
        sys.setswitchinterval(100.0)
        before = ticks[0]
        run_plan(plan, STEP, [job], threads=1)
        during = ticks[0] - before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        ticker.join()
    assert during > 5


def test_many_python_threads_step_their_own_plans() -> None:
    wanted = new_jobs()
    run_plan(make_plan("momentum", wanted), STEP, wanted, threads=1)
    all_jobs = [new_jobs() for _ in range(6)]
    threads = [
        threading.Thread(target=lambda j=jobs: run_plan(make_plan("momentum", j), STEP, j, threads=3)) for jobs in all_jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    assert {digest(jobs) for jobs in all_jobs} == {digest(wanted)}
