"""What a plan uploads, compiles, keeps and names, with a stub for the driver: no GPU is needed."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

pytest.importorskip("triton")

from qlangevin import SGLD, BackendError, QuantizedSGD, TensorError
from qlangevin.backends import device, triton
from qlangevin.backends.cuda import CudaPlan
from qlangevin.backends.device_table import DeviceTable
from qlangevin.backends.triton import TritonPlan
from qlangevin.quantizers import AdaptiveResolution, Compensation, Grid
from qlangevin.schedules import Linear
from qlangevin.triton_kernels import launch, squares, tables
from qlangevin.triton_kernels.prepare import Inputs

from .stub_driver import StubDriver

GPU = torch.device("cuda", 0)


def make_optimizer(*dtypes: torch.dtype, **options: Any) -> SGLD:
    params = [Parameter(torch.ones(5).to(dtype)) for dtype in dtypes or (torch.float32,)]
    for param in params:
        param.grad = torch.ones_like(param)
    return SGLD(params, **{"lr": 0.1, "temperature": 1.0, "seed": 1, "backend": "triton", **options})


def plan_of(optimizer: SGLD) -> Any:
    assert optimizer._executions.latest is not None
    return optimizer._executions.latest.plans[0]


def test_the_steps_go_up_only_where_they_differ(driver: StubDriver) -> None:
    optimizer = make_optimizer(*[torch.float32] * 3)
    optimizer.step()
    optimizer.step()
    plan = plan_of(optimizer)
    assert plan.steps.held is None
    states = list(optimizer.state.values())
    states[1]["step"].fill_(7)  # between equal ones
    optimizer.step()
    assert plan.steps.tensor.tolist() == [3, 8, 3]
    assert [int(state["step"]) for state in states] == [3, 8, 3]


def test_a_counter_at_its_end_is_refused(driver: StubDriver) -> None:
    optimizer = make_optimizer(torch.float32, torch.float32)
    optimizer.step()
    driver.launches.clear()
    next(iter(optimizer.state.values()))["step"].fill_(2**32 - 1)
    with pytest.raises(TensorError, match="step"):
        optimizer.step()
    assert not driver.launches


@pytest.mark.parametrize("count", [1, 2, 3])
def test_compensation_factors_of_the_host_go_up_whatever_their_number(count: int, driver: StubDriver) -> None:
    """They are words of 32 bits in a table of words of 64."""
    params = [Parameter(torch.ones(5)) for _ in range(count)]
    for param in params:
        param.grad = torch.ones(5)
    grid, compensation = Grid(AdaptiveResolution()), Compensation(2.0, 3)
    optimizer = QuantizedSGD(params, 0.1, update_quantizer=grid, compensation=compensation, backend="triton")
    optimizer.step()
    execution = optimizer._executions.latest
    assert execution is not None and execution.is_current(optimizer)
    step_input = execution.make_input(1.0)
    step_input.compensations = [0.5 + i for i in range(count)]
    execution.step(step_input, measures=False)
    plan: Any = execution.plans[0]
    assert plan.compensations.tensor.view(torch.float32)[:count].tolist() == step_input.compensations


def test_a_scaler_s_numbers_become_what_the_kernels_read_and_the_device_counts(driver: StubDriver) -> None:
    optimizer = make_optimizer()
    optimizer.step()
    driver.launches.clear()
    optimizer.found_inf = torch.zeros((), dtype=torch.float64)  # type: ignore[attr-defined]
    optimizer.step()
    assert plan_of(optimizer).counters is None
    prepared = next(one for one in driver.launches if one.kernel == "prepare_kernel")
    inputs = dict(zip(Inputs._fields, prepared.arguments, strict=False))
    assert inputs["found_inf"].dtype == torch.float32 and inputs["grad_scale"].dtype == torch.float32


@pytest.mark.parametrize(("count", "folds"), [(1, []), (4096, [4096]), (4097, [4097, 2]), (4096**2 + 1, [4096**2 + 1, 4097, 2])])
def test_a_list_is_summed_level_by_level(count: int, folds: list[int]) -> None:
    found: list[int] = []

    def fold(values: Tensor, sums: Tensor, found_inf: object, number: int) -> None:
        assert len(values) == number and len(sums) == -(-number // 4096)
        found.append(number)

    common: Any = SimpleNamespace(found_inf=None)
    kernels = SimpleNamespace(tables=tables, squares=SimpleNamespace(launch_fold=fold))
    assert len(triton.sum_places(torch.empty(count, dtype=torch.float64), common, kernels)) == 1
    assert found == folds


def test_another_multiplier_goes_up_with_the_same_hyper_parameters(driver: StubDriver) -> None:
    """As where the host clips: the sum of squares is taken with the one, the step with the other."""
    optimizer = make_optimizer()
    optimizer.step()
    execution = optimizer._executions.latest
    assert execution is not None
    seen = []
    for scale in (1.0, 0.5):
        assert execution.is_current(optimizer)
        execution.step(execution.make_input(scale), measures=False)
        seen.append(plan_of(optimizer).groups.held)
    assert seen[0] != seen[1]


def test_every_kernel_is_compiled_before_the_first_launch(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer(torch.float32, torch.bfloat16, capturable=True)
    optimizer.step()
    optimizer.collect_metrics()
    driver.launches.clear()
    compile_call = launch.compile_call

    def compile_all_but_one(call: launch.Call) -> None:
        if call.kernel is squares.fold_kernel:
            raise RuntimeError("no such instruction")
        compile_call(call)

    monkeypatch.setattr(launch, "compile_call", compile_all_but_one)
    with pytest.raises(BackendError, match="no such instruction"):
        optimizer.step()
    assert not driver.launches


def test_what_is_compiled_is_loaded_and_not_asked_for_again(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    class Compiled:
        """A kernel that is loaded when it is asked for what runs it."""

        loaded = 0

        @property
        def run(self) -> None:
            self.loaded += 1

    compiled, numbers = Compiled(), torch.zeros(1, dtype=torch.float64)
    with monkeypatch.context() as patched:
        patched.setattr(squares.fold_kernel, "warmup", lambda *_, **__: compiled)
        for _ in range(2):
            launch.compile_call(squares.call_fold(numbers, numbers, torch.zeros(1), 1))
    assert compiled.loaded == 1
    launch.compiled_kernels.clear()
    optimizer = make_optimizer()
    optimizer.step()
    monkeypatch.setattr(launch, "compile_call", lambda call: pytest.fail("it was compiled"))
    optimizer.step()


def test_each_gpu_has_a_kernel_of_its_own(driver: StubDriver) -> None:
    keys = []
    for where in ("cpu", "meta"):
        numbers = torch.zeros(1, dtype=torch.float64, device=where)
        launch.find_compiled(squares.call_fold(numbers, numbers, torch.zeros(1, device=where), 1))
        keys.append(set(launch.compiled_kernels))
    assert keys[0] < keys[1]


def test_what_was_observed_stays_as_it_was(driver: StubDriver) -> None:
    optimizer = make_optimizer()
    optimizer.collect_metrics()
    optimizer.step()
    assert optimizer._observed is not None
    observed = optimizer._observed.statistics[0]
    plan_of(optimizer).statistics["observed"].fill_(7.0)  # as the next step does
    assert observed is not None and not observed.any()


def test_ctrl_c_waits_for_all_buckets(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer(torch.float32, torch.bfloat16)
    prepare = triton.Begun.prepare

    def prepare_and_interrupt(*args: Any, **kwargs: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        prepare(*args, **kwargs)

    monkeypatch.setattr(triton.Begun, "prepare", prepare_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert [int(state["step"]) for state in optimizer.state.values()] == [1, 1]
    assert len(driver.launches) == 4


def test_a_lack_of_memory_keeps_its_type(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer()
    optimizer.step()

    def fail(*args: Any) -> None:
        raise torch.OutOfMemoryError("none is left")

    monkeypatch.setattr(triton, "Common", fail)
    with pytest.raises(torch.OutOfMemoryError):
        optimizer.step()


def test_all_memory_of_a_plan_is_kept_for_a_second_stream(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer(temperature=Linear(1.0, 0.1, 4), capturable=True)
    optimizer.tabulate_schedules(4)
    optimizer.collect_metrics()
    kept: list[Any] = []

    def keep(self: TritonPlan) -> None:
        kept.append(self)

    with monkeypatch.context() as patched:
        patched.setattr(TritonPlan, "keep_for_stream", keep)
        optimizer.step()
    plan = plan_of(optimizer)
    assert kept == [plan]
    owned = [value.tensor if isinstance(value, DeviceTable) else value for value in vars(plan).values()]
    memory = {value.data_ptr() for value in owned if isinstance(value, Tensor) and value.numel()}
    memory |= {plan.tables[0][1].data_ptr(), plan.statistics["observed"].data_ptr()}
    seen: list[tuple[int, Any]] = []
    stream = ["first"]
    monkeypatch.setattr(Tensor, "record_stream", lambda self, on: seen.append((self.data_ptr(), on)))
    monkeypatch.setattr(device, "current_stream", lambda where: stream[0])
    plan.device, plan.streams = GPU, {"first"}
    monkeypatch.setattr(device, "is_capturing", lambda where: False)
    plan.keep_for_stream()
    assert not seen
    stream[0] = "second"
    with monkeypatch.context() as patched:
        patched.setattr(device, "is_capturing", lambda where: True)
        plan.keep_for_stream()
    assert not seen  # a graph's plan stays for good
    plan.keep_for_stream()
    assert {address for address, _ in seen if address} == memory and {on for _, on in seen} == {"second"}


@pytest.mark.parametrize(
    ("kinds", "indices", "same"),
    [((TritonPlan,) * 2, (0, 0), True), ((TritonPlan,) * 2, (0, 1), False), ((TritonPlan, CudaPlan), (0, 0), False)],
)
def test_one_gpu_is_one_gpu_of_one_backend(kinds: Any, indices: Any, same: bool) -> None:
    plans: list[Any] = [object.__new__(kind) for kind in kinds]
    for plan, index in zip(plans, indices, strict=True):
        plan.bucket = SimpleNamespace(device=torch.device("cuda", index))
    assert (device.one_device(plans) is not None) is same
