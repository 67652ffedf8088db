"""What a step leaves to the device: nothing of it is read by the host, and the bits are those of the host's own way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import BackendError, HyperparameterError, execution
from qlangevin.backends import cuda
from qlangevin.optim import SGLD, QuantizedSGD
from qlangevin.optim.base import LangevinOptimizer
from qlangevin.quantizers import AdaptiveResolution, CalibratedResolution, Compensation, Grid, LogResolution
from qlangevin.schedules import Linear

from .on_host import missing

pytestmark = pytest.mark.skipif(missing is not None, reason=str(missing))
SIZES = ((5, torch.float32), (9000, torch.bfloat16), (300, torch.float32))
STEPS = 5


class HostReadError(Exception):
    """The host read a tensor."""


def refuse(*args: Any, **kwargs: Any) -> None:
    raise HostReadError


@contextlib.contextmanager
def no_host_reads() -> Iterator[None]:
    """Anything that would make the host wait for the device raises."""
    with contextlib.ExitStack() as stack:
        for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "__index__"):
            stack.enter_context(mock.patch.object(Tensor, name, refuse))
        yield


def make_params() -> list[Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [Parameter(torch.randn(size, generator=generator).to(dtype)) for size, dtype in SIZES]


def set_grads(params: list[Parameter], step: int, factor: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for param in params:
        param.grad = (torch.randn(param.shape, generator=generator) * factor).to(param.dtype)


def values_of(optimizer: LangevinOptimizer) -> list[Tensor]:
    """Copies of parameters and states."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    states = [value for param in params for _, value in sorted(optimizer.state[param].items())]
    return [tensor.detach().clone() for tensor in (*params, *states)]


def assert_equal(got: LangevinOptimizer, wanted: LangevinOptimizer) -> None:
    pairs = list(zip(values_of(got), values_of(wanted), strict=True))
    assert len(pairs) > 3
    assert all(a.dtype == b.dtype and a.equal(b) for a, b in pairs)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Switches between memory that counts as a GPU's and the CPU's own kernels."""

    def switch(on: bool) -> None:
        monkeypatch.setenv("QLANGEVIN_GPU_ON_HOST", "1" if on else "0")

    switch(True)
    return switch


def run(optimizer: LangevinOptimizer, steps: range, quiet: bool = False) -> None:
    """Some steps; `quiet`: none of them may read a tensor on the host, but for the first one."""
    for step in steps:
        set_grads([param for group in optimizer.param_groups for param in group["params"]], step)
        with no_host_reads() if quiet and step > 1 else contextlib.nullcontext():
            optimizer.step()


OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "clipped": {"max_grad_norm": 0.5},
    "quantized": {"update_quantizer": Grid(4096.0, "stochastic"), "grad_quantizer": Grid(64.0)},
    "decayed": {"weight_decay": 0.1, "decoupled_weight_decay": True},
}


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_host_reads_nothing_and_the_bits_are_the_cpu_s(options: str, capturable: bool, on_gpu: Any) -> None:
    arguments = {"lr": 0.1, "temperature": 1e-3, "momentum": 0.9, "seed": 3, **OPTIONS[options]}
    optimizer, twin = SGLD(make_params(), capturable=capturable, **arguments), SGLD(make_params(), **arguments)
    for each in (optimizer, twin):
        each.collect_metrics()
    run(optimizer, range(1, STEPS), quiet=True)
    on_gpu(False)
    run(twin, range(1, STEPS))
    assert_equal(optimizer, twin)
    assert [float(v) for v in optimizer.metrics().groups[0].values()] == [float(v) for v in twin.metrics().groups[0].values()]


@pytest.mark.parametrize("norm", ["tensor", "global"])
def test_the_compensation_is_made_on_the_device(norm: str, on_gpu: Any) -> None:
    arguments = {"lr": 0.1, "seed": 3, "momentum": 0.9, "update_quantizer": Grid(2.0**12), "max_grad_norm": 0.7}
    arguments["compensation"] = Compensation(warmup_epochs=2, batches_per_epoch=3, norm=norm)
    optimizer, twin = QuantizedSGD(make_params(), capturable=True, **arguments), QuantizedSGD(make_params(), **arguments)
    optimizer.tabulate_schedules(STEPS)
    run(optimizer, range(1, STEPS), quiet=True)
    on_gpu(False)
    run(twin, range(1, STEPS))
    assert_equal(optimizer, twin)


def test_lr_and_temperature_may_be_tensors_that_only_the_device_reads(on_gpu: Any) -> None:
    lr, temperature = torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.5)
    optimizer = SGLD(make_params(), lr, temperature=temperature, momentum=0.9, seed=3, capturable=True)
    twin = SGLD(make_params(), 0.1, temperature=0.5, momentum=0.9, seed=3)
    run(optimizer, range(1, 3), quiet=True)
    lr.fill_(0.0125), temperature.fill_(0.25)
    run(optimizer, range(3, 5), quiet=True)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.5)
    run(optimizer, range(5, 6))
    on_gpu(False)
    run(twin, range(1, 3))
    twin.param_groups[0]["lr"], twin.param_groups[0]["temperature"] = 0.0125, 0.25
    run(twin, range(3, 5))
    twin.param_groups[0]["lr"] = 0.5
    run(twin, range(5, 6))
    assert_equal(optimizer, twin)


@pytest.mark.parametrize("capturable", [False, True])
def test_a_scaler_s_overflow_is_seen_by_the_device_alone(capturable: bool, on_gpu: Any) -> None:
    arguments = {"lr": 0.1, "temperature": 1e-3, "momentum": 0.9, "seed": 3, "max_grad_norm": 0.5}
    optimizer, twin = SGLD(make_params(), capturable=capturable, **arguments), SGLD(make_params(), **arguments)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)  # type: ignore[attr-defined]
    for step in range(1, 6):
        set_grads(optimizer.param_groups[0]["params"], step, factor=8.0)
        optimizer.found_inf = torch.tensor(float(step in (2, 4)))  # type: ignore[attr-defined]
        with no_host_reads() if step > 1 else contextlib.nullcontext():
            optimizer.step()
    on_gpu(False)
    run(twin, (1, 3, 5))  # type: ignore[arg-type]
    assert_equal(optimizer, twin)
    assert all(int(state["step"]) == 3 for state in optimizer.state.values())


def test_schedules_become_tables(on_gpu: Any) -> None:
    arguments: dict[str, Any] = {"lr": 0.1, "temperature": Linear(1.0, 0.1, 4), "momentum": lambda step: 0.9 / step, "seed": 3}
    arguments["update_quantizer"] = Grid(LogResolution(3))
    optimizer, twin = SGLD(make_params(), capturable=True, **arguments), SGLD(make_params(), **arguments)
    set_grads(optimizer.param_groups[0]["params"], 1)
    with pytest.raises(HyperparameterError, match="tabulate_schedules"):
        optimizer.step()
    assert not any(int(state["step"]) for state in optimizer.state.values())
    optimizer.tabulate_schedules(4)
    run(optimizer, range(1, 5), quiet=True)
    on_gpu(False)
    run(twin, range(1, 5))
    assert_equal(optimizer, twin)


def test_running_past_a_table_is_an_error(on_gpu: Any) -> None:
    optimizer = SGLD(make_params(), 0.1, temperature=Linear(1.0, 0.1, 4), seed=3, capturable=True)
    optimizer.tabulate_schedules(2)
    run(optimizer, range(1, 4))
    for call in (optimizer.state_dict, optimizer.metrics, optimizer.step):
        with pytest.raises(HyperparameterError, match="total_steps = 2"):
            call()


def test_of_several_gpus_schedules_and_lr_are_read_at_each_step(on_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "one_device", lambda plans: None)
    lr = torch.tensor(0.1)
    optimizer = SGLD(make_params(), lr, temperature=Linear(1.0, 0.1, 4), max_grad_norm=0.5, seed=3, capturable=True)
    optimizer.tabulate_schedules(4)
    run(optimizer, range(1, 3))
    lr.fill_(0.0125)
    run(optimizer, range(3, 5))
    on_gpu(False)
    twin = SGLD(make_params(), float(torch.tensor(0.1)), temperature=Linear(1.0, 0.1, 4), max_grad_norm=0.5, seed=3)
    run(twin, range(1, 3))
    twin.param_groups[0]["lr"] = 0.0125
    run(twin, range(3, 5))
    assert_equal(optimizer, twin)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "4"])
def test_a_table_s_length_must_be_a_number_of_steps(steps: Any) -> None:
    with pytest.raises(HyperparameterError, match="total_steps"):
        SGLD(make_params(), 0.1, temperature=0.0).tabulate_schedules(steps)


CALIBRATED: dict[str, Any] = {"temperature": 1e-4, "compensation": None, "update_quantizer": Grid(CalibratedResolution())}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": torch.tensor(0.1, dtype=torch.float16), "compensation": None, "update_quantizer": None}, "float32 or float64"),
        ({"lr": 0.1, "compensation": None, "update_quantizer": Grid(AdaptiveResolution())}, "cannot be captured"),
        (CALIBRATED | {"lr": torch.tensor(0.1)}, "numbers of the host"),
    ],
)
def test_what_cannot_be_left_to_the_device_is_refused(arguments: dict[str, Any], message: str, on_gpu: Any) -> None:
    optimizer = QuantizedSGD(make_params(), capturable=True, **arguments)
    optimizer.tabulate_schedules(10)
    set_grads(optimizer.param_groups[0]["params"], 1)
    before = [param.detach().clone() for param in optimizer.param_groups[0]["params"]]
    with pytest.raises(HyperparameterError, match=message):
        optimizer.step()
    assert all(a.equal(b) for a, b in zip(before, optimizer.param_groups[0]["params"], strict=True))


def test_a_table_that_found_no_memory_is_made_by_the_next_step(on_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"lr": 0.1, "temperature": Linear(1.0, 0.1, 4), "seed": 3}
    optimizer, twin = SGLD(make_params(), capturable=True, **arguments), SGLD(make_params(), **arguments)
    optimizer.tabulate_schedules(4)
    run(optimizer, range(1, 2))
    optimizer.param_groups[0]["temperature"] = Linear(0.5, 0.1, 4)

    def fail(*args: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(cuda.CudaPlan, "table_of", fail)
        with pytest.raises(torch.OutOfMemoryError):
            run(optimizer, range(2, 3))
    run(optimizer, range(2, 4))
    on_gpu(False)
    run(twin, range(1, 2))
    twin.param_groups[0]["temperature"] = Linear(0.5, 0.1, 4)
    run(twin, range(2, 4))
    assert_equal(optimizer, twin)


def test_a_step_that_counts_on_the_host_is_no_part_of_a_graph(on_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for capturable in (False, True):
        optimizer = SGLD(make_params(), 0.1, temperature=1.0, momentum=0.9, seed=3, capturable=capturable)
        run(optimizer, range(1, 2))
        before = values_of(optimizer)
        with monkeypatch.context() as patched:
            patched.setattr(cuda, "stream_of", lambda device: 1)  # which stands for one that is being captured
            with contextlib.nullcontext() if capturable else pytest.raises(BackendError, match="capturable=True"):
                optimizer.step()
        assert all(a.equal(b) for a, b in zip(values_of(optimizer), before, strict=True)) is not capturable


def test_what_the_host_decides_is_no_part_of_a_graph(on_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(AdaptiveResolution())
    optimizer = QuantizedSGD(make_params(), 0.1, momentum=0.9, update_quantizer=grid, compensation=None, seed=3)
    optimizer.found_inf = torch.tensor(0.0)  # type: ignore[attr-defined]  # the device counts
    run(optimizer, range(1, 2))
    before = values_of(optimizer)
    monkeypatch.setattr(cuda, "stream_of", lambda device: 1)
    with pytest.raises(BackendError, match="AdaptiveResolution"):
        optimizer.step()
    assert all(a.equal(b) for a, b in zip(values_of(optimizer), before, strict=True))


def test_without_memory_for_the_plan_nothing_changes(on_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = SGLD(make_params(), 0.1, temperature=1.0, momentum=0.9, seed=3)
    set_grads(optimizer.param_groups[0]["params"], 1)
    before = [param.detach().clone() for param in optimizer.param_groups[0]["params"]]
    module = cuda.torch

    def fail(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(module, "empty", fail)
        with pytest.raises(torch.OutOfMemoryError):
            optimizer.step()
    assert all(a.equal(b) for a, b in zip(before, optimizer.param_groups[0]["params"], strict=True))
    assert not any(optimizer.state[param] for param in optimizer.param_groups[0]["params"])
    optimizer.step()
    assert all(int(state["step"]) == 1 for state in optimizer.state.values())
