"""A step is validated whole, then done once: what is wrong in one tensor leaves all others, their states and counters alone."""

from __future__ import annotations

import signal
from types import FrameType

import pytest
import torch

from qlangevin import BackendError, QlangevinError, TensorError

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import unchanged
from .wrong_tensors import WRONG_GRADS

COUNT = 70
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def make_many(mixed: bool) -> Problem:
    """COUNT tensors, of three dtypes in turn if mixed; the 65th is float32."""
    problem = make_problem({f"t{i}": (4, 3) for i in range(1, COUNT + 1)})
    for i, param in enumerate(problem.list(), 1):
        if mixed:
            param.data = param.data.to(DTYPES[(i - 65) % 3])
    return problem


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("steps_before", [0, 1])
@pytest.mark.parametrize("kind", WRONG_GRADS)
def test_a_wrong_gradient_in_tensor_65(kind: str, steps_before: int, mixed: bool, backend: str) -> None:
    problem = make_many(mixed)
    optimizer = make_sgld(problem.named(), backend=backend, max_grad_norm=1.0, **ALL_ON)
    problem.run(optimizer, range(1, steps_before + 1))
    problem.set_grads(2)
    WRONG_GRADS[kind][0](problem.params["t65"])
    with unchanged(optimizer), pytest.raises(TensorError, match="t65"):
        optimizer.step()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_counter_at_its_end_in_the_last_list(backend: str) -> None:
    # 32 bits of the draw's counter are the step's; torch.float16 comes last of the three launches.
    problem = make_many(mixed=True)
    optimizer = make_sgld(problem.named(), backend=backend, **ALL_ON)
    problem.run(optimizer, [1])
    optimizer.state[problem.params["t67"]]["step"].fill_(2**32 - 1)
    problem.set_grads(2)
    with unchanged(optimizer), pytest.raises(QlangevinError, match="step"):
        optimizer.step()


def test_a_list_that_no_backend_named_can_step_stops_the_others() -> None:
    problem = make_many(mixed=False)
    wide = make_problem({"wide": (3,)}, torch.float64)
    optimizer = make_sgld([*problem.named(), *wide.named()], backend="native", **ALL_ON)
    problem.set_grads(1)
    wide.set_grads(1)
    with unchanged(optimizer), pytest.raises(BackendError, match="float64"):
        optimizer.step()


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("order", [("t1", "t2"), ("t2", "t1")])
def test_a_counter_at_its_end_in_one_of_two_lists(order: tuple[str, str], backend: str) -> None:
    problem = make_problem({"t1": (4, 3), "t2": (4, 3)})
    problem.params["t2"].data = problem.params["t2"].data.to(torch.bfloat16)
    optimizer = make_sgld([(name, problem.params[name]) for name in order], backend=backend, **ALL_ON)
    problem.run(optimizer, [1])
    optimizer.state[problem.params["t2"]]["step"].fill_(2**32 - 1)
    problem.set_grads(2)
    with unchanged(optimizer), pytest.raises(TensorError, match="step"):
        optimizer.step()


@pytest.mark.parametrize("measures", [False, True])
def test_an_interrupt_finds_both_lists_stepped_or_none(measures: bool) -> None:
    problem = make_problem({"large": (1 << 21,), "small": (3,)})
    problem.params["small"].data = problem.params["small"].data.to(torch.bfloat16)
    optimizer = make_sgld(problem.named(), backend="native", **ALL_ON)
    optimizer.collect_metrics(measures)
    problem.run(optimizer, [1])
    problem.set_grads(2)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):  # after 1 ms: while the large list, of several, is stepped
                signal.setitimer(signal.ITIMER_REAL, 1e-3)
                while True:
                    optimizer.step()
            steps = [int(optimizer.state[param]["step"]) for param in problem.list()]
            assert steps[0] == steps[1]
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_refused_step_is_as_if_it_had_not_been_asked_for(backend: str) -> None:
    results = []
    for spoiled in (False, True):
        problem = make_many(mixed=True)
        optimizer = make_sgld(problem.named(), backend=backend, **ALL_ON)
        problem.run(optimizer, [1])
        if spoiled:
            WRONG_GRADS["sparse"][0](problem.params["t65"])
            with pytest.raises(TensorError):
                optimizer.step()
            problem.params["t65"].grad = None
            problem.params["t65"].grad_dtype = torch.float32
        problem.run(optimizer, [2])
        results.append(problem.values())
    assert all(results[0][name].equal(results[1][name]) for name in results[0])
