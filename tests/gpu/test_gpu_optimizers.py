"""Every form of every optimizer on the device = on the CPU, bit for bit: parameters, states, counters, metrics."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from qlangevin import selftest
from qlangevin.__main__ import main
from qlangevin.bench.admission import why_no_kernels
from qlangevin.metrics import Metrics
from tests.optim.problems import Problem
from tests.optim.snapshots import assert_same

from .device import BACKEND, CPU, DEVICE, ON_HOST, ORACLE, needs_device, needs_gpu, no_synchronization, synchronize
from .problems import CHOSEN, LEFT_TO_THE_DEVICE, make_device_problem, make_optimizer, numbers_of, result_of, run_oracle

pytestmark = needs_device

STEPS = 5
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipping": {"max_grad_norm": 0.5},
    "maximizing, nearest": {"maximize": True, "param_rounding": "nearest", "state_rounding": "nearest", "noise": "rademacher"},
    "bfloat16 states": {"state_dtype": torch.bfloat16, "noise": "uniform"},
}


def run(form: str, device: torch.device, backend: str, **options: Any) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Steps in which tensors come and go; the third is not measured."""
    problem = make_device_problem(device)
    optimizer = make_optimizer(form, problem, backend, **options)
    found = []
    for step in range(1, STEPS + 1):
        optimizer.collect_metrics(step != 3)
        problem.without_grads = ({"b"} if step < 3 else set()) | ({"f", "g"} if step % 2 else set())
        problem.run(optimizer, [step])
        if step != 3:
            found.append(numbers_of(optimizer.metrics()))
    return found, result_of(optimizer, problem)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("form", CHOSEN)
def test_steps_equal_the_cpu_s(form: str, options: str) -> None:
    metrics, result = run(form, DEVICE, BACKEND, **OPTIONS[options])
    wanted_metrics, wanted = run(form, CPU, ORACLE, **OPTIONS[options])
    assert_same(result, wanted)
    assert metrics == wanted_metrics


def measure_oracle(form: str, step: int, **options: Any) -> Metrics:
    """The metrics of one step on the CPU."""
    problem = make_device_problem(CPU)
    optimizer = make_optimizer(form, problem, ORACLE, **options)
    problem.run(optimizer, range(1, step))
    optimizer.collect_metrics()
    problem.run(optimizer, [step])
    return optimizer.metrics()  # type: ignore[no-any-return]


@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("form", LEFT_TO_THE_DEVICE)
def test_capturable_steps_equal_the_cpu_s(form: str, clips: bool) -> None:
    options = {"max_grad_norm": 0.5} if clips else {}
    problem = make_device_problem(DEVICE)
    optimizer = make_optimizer(form, problem, BACKEND, capturable=True, **options)
    optimizer.tabulate_schedules(STEPS)
    problem.run(optimizer, range(1, STEPS))
    optimizer.collect_metrics()
    problem.run(optimizer, [STEPS])
    assert numbers_of(optimizer.metrics()) == numbers_of(measure_oracle(form, STEPS, **options))
    assert all(state["step"].device == DEVICE for state in optimizer.state.values())
    assert_same(result_of(optimizer, problem), run_oracle(form, ORACLE, list(range(1, STEPS + 1)), **options))


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("form", LEFT_TO_THE_DEVICE)
def test_a_step_does_not_wait_for_the_device(form: str, capturable: bool) -> None:
    """The device is kept busy meanwhile: a step that waited in native code would return late."""
    problem = make_device_problem(DEVICE)
    optimizer = make_optimizer(form, problem, BACKEND, capturable=capturable, max_grad_norm=1.0)
    if capturable:
        optimizer.tabulate_schedules(8)
    for collects in (False, True):
        optimizer.collect_metrics(collects)
        problem.run(optimizer, [1, 2])  # plans, tables and statistics are made
        problem.set_grads(3)
        synchronize()
        if not ON_HOST:
            busy = torch.cuda.Event()
            torch.cuda._sleep(400_000_000)  # some tenths of a second
            busy.record()
        with no_synchronization():
            optimizer.step()
        assert ON_HOST or not busy.query(), "the step waited for the device"
        synchronize()


class Scaled:
    """A problem whose gradients a GradScaler has scaled by a power of two."""

    def __init__(self, form: str, inside: bool, **options: Any) -> None:
        self.problem = make_device_problem(DEVICE, (torch.float32, torch.bfloat16))
        self.problem.without_grads = {"e"}  # it is empty: nothing that GradScaler has to take
        self.optimizer = make_optimizer(form, self.problem, BACKEND, **options)
        self.optimizer._step_supports_amp_scaling = inside
        self.scaler = torch.amp.GradScaler(DEVICE.type, init_scale=2.0**10, growth_interval=2)

    def step(self, number: int, overflow: bool = False) -> None:
        """One step of the scaler, which skips the optimizer's if there is an overflow."""
        self.scaler.scale(torch.zeros((), device=DEVICE))  # the scaler makes its scale tensor here
        self.problem.set_grads(number, factor=self.scaler.get_scale())
        if overflow:
            grad = self.problem.params["f"].grad
            assert grad is not None
            grad[5] = float("inf")
        self.scaler.step(self.optimizer)
        self.scaler.update()


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
@pytest.mark.parametrize("form", LEFT_TO_THE_DEVICE)
def test_scaled_steps_equal_unscaled_ones(form: str, inside: bool, max_grad_norm: float | None) -> None:
    """With an overflow in the second and the fourth step, which leave everything as it is."""
    scaled = Scaled(form, inside, max_grad_norm=max_grad_norm)
    numbers = (1, 50, 2, 51, 3)
    for number in numbers:
        scaled.step(number, overflow=number >= 50)
    problem: Problem = make_device_problem(CPU, (torch.float32, torch.bfloat16))
    problem.without_grads = {"e"}
    plain = make_optimizer(form, problem, ORACLE, max_grad_norm=max_grad_norm)
    problem.run(plain, [number for number in numbers if number < 50])
    assert_same(result_of(scaled.optimizer, scaled.problem), result_of(plain, problem))


def test_a_scale_that_the_device_holds_unscales() -> None:
    """As a fused optimizer is told: grad_scale and found_inf, tensors of the device."""
    problem = make_device_problem(DEVICE)
    optimizer = make_optimizer("SGLD with momentum", problem, BACKEND, max_grad_norm=0.5)
    optimizer.grad_scale = torch.tensor(8.0, device=DEVICE)
    for number, found in ((1, 0.0), (2, 1.0), (3, 0.0)):
        problem.set_grads(number, factor=8.0)
        optimizer.found_inf = torch.tensor(found, device=DEVICE)
        with no_synchronization():
            optimizer.step()
    assert_same(result_of(optimizer, problem), run_oracle("SGLD with momentum", ORACLE, [1, 3], max_grad_norm=0.5))


def test_a_saved_state_goes_on_elsewhere() -> None:
    """From the CPU to the device and back, one step in each place."""
    places = ((CPU, ORACLE), (DEVICE, BACKEND), (CPU, ORACLE), (DEVICE, BACKEND))
    saved: dict[str, Any] | None = None
    values: dict[str, torch.Tensor] = {}
    for number, (device, backend) in enumerate(places, 1):
        problem = make_device_problem(device)
        optimizer = make_optimizer("SGLD with momentum", problem, backend)
        if saved is not None:
            for name, param in problem.params.items():
                param.data.copy_(values[name])
            optimizer.load_state_dict(saved)
        problem.run(optimizer, [number])
        saved, values = optimizer.state_dict(), problem.values()
        result = result_of(optimizer, problem)
    assert_same(result, run_oracle("SGLD with momentum", ORACLE, [1, 2, 3, 4]))


def test_the_golden_runs() -> None:
    assert selftest.check_backend(BACKEND, DEVICE) == dict.fromkeys(selftest.CASES, True)
    assert BACKEND != "native" or why_no_kernels(DEVICE) == (None, False)


@needs_gpu
def test_the_bench_command() -> None:
    words = ["--device", "cuda", "--lists", "mlp", "--rounds", "2", "--cases", "torch SGD fused", "SGLD momentum"]
    assert main(["bench", *words]) == 0
    assert main(["info"]) == 0
