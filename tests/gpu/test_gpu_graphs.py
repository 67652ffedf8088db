"""CUDA graphs: N replays of a captured step = N steps, bit for bit; on the host a replay is a call."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from qlangevin import SGLD, BackendError, HyperparameterError
from tests.optim.problems import Problem
from tests.optim.snapshots import assert_same

from .device import BACKEND, CPU, DEVICE, ON_HOST, ORACLE, Body, capture, needs_device, needs_gpu, synchronize
from .problems import LEFT_TO_THE_DEVICE, make_device_problem, make_optimizer, numbers_of, result_of, run_oracle

pytestmark = needs_device

REPLAYS = 5


class Captured:
    """An optimizer whose step is in a graph, after one step outside; the gradients' values are copied into place."""

    def __init__(self, form: str, total_steps: int = 20, **options: Any) -> None:
        self.problem = make_device_problem(DEVICE)
        self.optimizer = make_optimizer(form, self.problem, BACKEND, capturable=True, **options)
        self.optimizer.tabulate_schedules(total_steps)
        self.problem.run(self.optimizer, [1])
        self.grads = {name: param.grad for name, param in self.problem.params.items()}
        self.replay: Body = capture(self.optimizer.step, list(self.problem.params.values()))

    def run(self, step: int) -> None:
        """A replay with the gradients of a step."""
        fresh: Problem = make_device_problem(CPU)
        fresh.set_grads(step)
        for name, grad in self.grads.items():
            source = fresh.params[name].grad
            assert grad is not None and source is not None
            grad.copy_(source)
        self.replay()

    def result(self) -> dict[str, torch.Tensor]:
        """Parameters, states, counters."""
        synchronize()
        return result_of(self.optimizer, self.problem)


@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
@pytest.mark.parametrize("form", LEFT_TO_THE_DEVICE)
def test_replays_equal_steps(form: str, max_grad_norm: float | None) -> None:
    captured = Captured(form, max_grad_norm=max_grad_norm)
    for step in range(2, 2 + REPLAYS):
        captured.run(step)
    wanted = run_oracle(form, ORACLE, list(range(1, 2 + REPLAYS)), max_grad_norm=max_grad_norm)
    assert_same(captured.result(), wanted)


@pytest.mark.parametrize("form", ["SGLD with momentum", "QuantizedSGD, published"])
def test_steps_and_replays_alternate(form: str) -> None:
    """A step outside of the graph has its gradients elsewhere, and leaves the graph's where they were."""
    captured = Captured(form)
    for step in range(2, 8):
        if step % 2:
            captured.problem.run(captured.optimizer, [step])
        else:
            captured.run(step)
    assert_same(captured.result(), run_oracle(form, ORACLE, list(range(1, 8))))


@pytest.mark.parametrize("count", [40] if ON_HOST and BACKEND == "triton" else [40, 700])  # 700 are slow to interpret
def test_a_graph_keeps_its_gradients_where_many_tensors_step(count: int) -> None:
    """More addresses than a launch's arguments hold: a table on the device, which steps in between write too."""
    generator = torch.Generator().manual_seed(count)
    starts = [torch.randn(1 + i % 9, generator=generator) for i in range(count)]
    grads = [[torch.randn(start.shape, generator=generator) for start in starts] for _ in range(2)]
    results = []
    for device in (DEVICE, CPU):
        here = device == DEVICE and not results
        params = [torch.nn.Parameter(start.clone().to(device)) for start in starts]
        given = [[grad.to(device, copy=True) for grad in of_step] for of_step in grads]
        options = {"capturable": True, "backend": BACKEND} if here else {"backend": ORACLE}
        optimizer = SGLD(params, 0.1, temperature=0.3, momentum=0.9, seed=7, **options)

        def step(which: int, params: Any = params, given: Any = given, optimizer: Any = optimizer) -> None:
            for param, grad in zip(params, given[which], strict=True):
                param.grad = grad
            optimizer.step()

        step(0)
        replay = capture(lambda step=step: step(0), list(params)) if here else lambda step=step: step(0)  # type: ignore[misc]
        for which in (0, 1, 0, 0, 1, 0):
            replay() if which == 0 else step(1)
        synchronize()
        results.append({str(i): param.detach().cpu() for i, param in enumerate(params)})
    assert_same(*results)


def test_each_replay_draws_new_noise() -> None:
    param = torch.nn.Parameter(torch.zeros(4096, device=DEVICE))
    param.grad = torch.zeros_like(param)
    optimizer = SGLD([param], 0.1, temperature=1.0, seed=7, capturable=True, backend=BACKEND)
    optimizer.step()
    replay = capture(optimizer.step, [param])
    seen, before = [], param.detach().clone()
    for _ in range(4):
        replay()
        seen.append((param.detach() - before).cpu())
        before = param.detach().clone()
    for i, one in enumerate(seen):
        assert one.std() > 0.4 and all(not torch.equal(one, other) for other in seen[:i])


def test_the_device_s_lr_and_temperature_are_read_in_each_replay() -> None:
    lr, temperature = torch.tensor(0.05, device=DEVICE), torch.tensor(0.3, dtype=torch.float64, device=DEVICE)
    captured = Captured("SGLD with momentum", lr=lr, temperature=temperature)
    problem = make_device_problem(CPU)
    plain = make_optimizer("SGLD with momentum", problem, ORACLE, lr=lr.item(), temperature=0.3)
    problem.run(plain, [1])
    for step in range(2, 6):
        lr.fill_(0.05 / step)
        temperature.fill_(0.3 * step)
        captured.run(step)
        plain.param_groups[0]["lr"] = lr.item()  # the second group has a number
        for group in plain.param_groups:
            group["temperature"] = temperature.item()
        problem.run(plain, [step])
    assert_same(captured.result(), result_of(plain, problem))


def test_found_inf_inside_a_graph() -> None:
    problem = make_device_problem(DEVICE)
    optimizer = make_optimizer("SGLD with momentum", problem, BACKEND, capturable=True, max_grad_norm=0.5)
    optimizer.found_inf, optimizer.grad_scale = torch.zeros((), device=DEVICE), torch.full((), 8.0, device=DEVICE)
    problem.set_grads(1, factor=8.0)
    optimizer.step()
    grads = {name: param.grad for name, param in problem.params.items()}
    replay = capture(optimizer.step, list(problem.params.values()))
    for step, found in ((2, 0.0), (50, 1.0), (3, 0.0), (51, 2.0)):
        problem.set_grads(step, factor=8.0)
        for name, param in problem.params.items():
            source, target = param.grad, grads[name]
            assert source is not None and target is not None
            target.copy_(source)
            param.grad = target
        optimizer.found_inf.fill_(found)
        replay()
    synchronize()
    assert_same(result_of(optimizer, problem), run_oracle("SGLD with momentum", ORACLE, [1, 2, 3], max_grad_norm=0.5))


def test_the_end_of_a_schedule_is_noticed() -> None:
    captured = Captured("CoolMomentum", total_steps=3)
    for step in (2, 3):
        captured.run(step)
    synchronize()
    captured.optimizer.state_dict()
    captured.run(4)
    with pytest.raises(HyperparameterError, match="ran past total_steps = 3"):
        captured.optimizer.state_dict()


def test_metrics_of_a_captured_step_are_those_of_the_latest_replay() -> None:
    problem, plain = make_device_problem(DEVICE), make_device_problem(CPU)
    optimizer = make_optimizer("SGLD with momentum", problem, BACKEND, capturable=True)
    other = make_optimizer("SGLD with momentum", plain, ORACLE)
    for one in (optimizer, other):
        one.collect_metrics()
    problem.run(optimizer, [1])
    replay = capture(optimizer.step, list(problem.params.values()))
    plain.run(other, [1])
    for _ in range(2):
        replay()
        other.step()
    synchronize()
    assert numbers_of(optimizer.metrics()) == numbers_of(other.metrics())


@needs_gpu
def test_a_capture_without_a_step_before_is_refused_and_leaves_no_trace() -> None:
    problem = make_device_problem(DEVICE)
    optimizer = make_optimizer("SGLD", problem, BACKEND, capturable=True)
    problem.set_grads(1)
    synchronize()
    before = problem.values()
    graph = torch.cuda.CUDAGraph()
    try:
        with pytest.raises(BackendError, match="while a graph is captured"), torch.cuda.graph(graph):
            optimizer.step()
    finally:
        torch.cuda.set_stream(torch.cuda.default_stream(DEVICE))
    synchronize()
    assert_same(problem.values(), before)
    del graph
    problem.run(optimizer, [1])
    assert_same(result_of(optimizer, problem), run_oracle("SGLD", ORACLE, [1]))
