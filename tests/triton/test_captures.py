"""What becomes of a step that is captured into a graph, with a stub for the driver: no GPU is needed."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import Parameter

pytest.importorskip("triton")

from qlangevin import SGLD, BackendError, HyperparameterError
from qlangevin.backends import device
from qlangevin.schedules import Linear

from .stub_driver import StubDriver

GPU = torch.device("cuda", 1)


@contextlib.contextmanager
def capturing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(device, "is_capturing", lambda where: True)
        yield


def make_optimizer(**options: Any) -> SGLD:
    param = Parameter(torch.ones(5))
    param.grad = torch.ones(5)
    return SGLD([param], **{"lr": 0.1, "temperature": 1.0, "seed": 1, "backend": "triton", "capturable": True, **options})


def plan_of(optimizer: SGLD) -> Any:
    assert optimizer._executions.latest is not None
    return optimizer._executions.latest.plans[0]


def test_the_gpu_of_the_tensors_is_asked_whether_it_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another GPU may be the current one."""
    current = [0]

    @contextlib.contextmanager
    def scope(where: torch.device) -> Iterator[None]:
        before, current[0] = current[0], where.index or 0
        yield
        current[0] = before

    module = SimpleNamespace(is_current_stream_capturing=lambda: current[0] == 1, device=scope)
    monkeypatch.setattr(torch, "get_device_module", lambda where: module)
    assert device.is_capturing(GPU) and not device.is_capturing(torch.device("cuda", 0))


def test_a_graph_keeps_the_tables_of_schedules_that_it_reads(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer(temperature=Linear(1.0, 0.1, 4))
    optimizer.tabulate_schedules(4)
    optimizer.step()
    with capturing(monkeypatch):
        optimizer.step()
    plan = plan_of(optimizer)
    held = weakref.ref(plan.tables[0][1])
    optimizer.param_groups[0]["temperature"] = Linear(0.5, 0.1, 4)
    optimizer.step()
    assert plan_of(optimizer) is plan and plan.tables[0][1] is not held()
    assert held() is not None


def test_without_a_graph_a_table_that_was_replaced_is_freed(driver: StubDriver) -> None:
    optimizer = make_optimizer(temperature=Linear(1.0, 0.1, 4))
    optimizer.tabulate_schedules(4)
    optimizer.step()
    held = weakref.ref(plan_of(optimizer).tables[0][1])
    optimizer.param_groups[0]["temperature"] = Linear(0.5, 0.1, 4)
    optimizer.step()
    assert held() is None


def test_a_graph_keeps_the_lr_that_it_reads(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer()
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1)  # else the defaults would keep it
    monkeypatch.setattr("qlangevin.device_hypers.is_device", lambda where: True)
    optimizer.step()
    with capturing(monkeypatch):
        optimizer.step()
    held = weakref.ref(optimizer.param_groups[0]["lr"])
    optimizer.param_groups[0]["lr"] = torch.tensor(0.2)
    optimizer.step()
    optimizer.step()
    assert held() is not None


def test_eager_steps_after_a_capture_upload_again(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer()
    optimizer.step()
    plan = plan_of(optimizer)
    with capturing(monkeypatch):
        optimizer.step()
    for table in (plan.grads, plan.groups):
        written = table.tensor.clone()
        table.tensor.fill_(-1)  # as a replay of another graph
        optimizer.step()
        assert table.tensor.equal(written)


def test_a_plan_is_not_made_while_a_graph_is_captured(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer()
    with capturing(monkeypatch), pytest.raises(BackendError, match=r"^a plan cannot be made .* take one such step before"):
        optimizer.step()
    assert not driver.launches and not any(optimizer.state.values())
    optimizer.step()
    assert [one.kernel for one in driver.launches] == ["prepare_kernel", "step_kernel"]


def test_a_graph_keeps_its_plan_and_the_end_of_its_schedules(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer(temperature=Linear(1.0, 0.1, 4))
    optimizer.tabulate_schedules(4)
    optimizer.step()
    with capturing(monkeypatch):
        optimizer.step()
    assert optimizer._executions.latest is not None and optimizer._executions.latest.overrun is not None
    plan, flag = weakref.ref(plan_of(optimizer)), optimizer._executions.latest.overrun.flag
    optimizer.reseed(2)
    optimizer.step()
    assert plan() is not None and plan_of(optimizer) is not plan()
    flag.fill_(1)  # as a replay does
    with pytest.raises(HyperparameterError, match="ran past total_steps = 4"):
        optimizer.state_dict()


def test_a_captured_step_asks_nothing_even_where_it_moves_nothing(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = make_optimizer(lr=0.0)
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad.zero_()
    optimizer.step()
    assert not driver.launches  # it made the states, as checkpoint tools want it
    with capturing(monkeypatch):
        optimizer.step()
    assert len(driver.launches) == 2
