"""What an optimizer compiles and launches through Triton's own compiler, with a stub for the driver: no GPU is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import Parameter

pytest.importorskip("triton")

from qlangevin import SGLD, BackendError, QuantizedSGD
from qlangevin.quantizers import Compensation, Grid
from qlangevin.triton_kernels import launch, squares

from ..design.sources import ROOT
from .stub_driver import StubDriver

MOST_IN_A_RUN = 3
SIZES = ((5, torch.bfloat16), (9000, torch.bfloat16), (300, torch.bfloat16))
FIRST_CALL = 5.0  # seconds


def make_params(*dtypes: torch.dtype) -> list[Parameter]:
    params = [Parameter(torch.ones(size).to(dtype)) for size, dtype in SIZES]
    params += [Parameter(torch.ones(7).to(dtype)) for dtype in dtypes]
    for param in params:
        param.grad = torch.ones_like(param)
    return params


def names(driver: StubDriver) -> list[tuple[str, int]]:
    found = [(one.kernel, one.programs) for one in driver.launches]
    driver.launches.clear()
    return found


def test_a_step_is_two_launches_whatever_it_does(driver: StubDriver) -> None:
    options: dict[str, Any] = {"temperature": 1.0, "momentum": 0.9, "update_quantizer": Grid(64.0, "stochastic"), "seed": 1}
    optimizer = SGLD(make_params(), 0.1, backend="triton", weight_decay=0.1, **options)
    for _ in range(3):
        optimizer.step()
        assert names(driver) == [("prepare_kernel", 1), ("step_kernel", 1 + 3 + 1)]
    assert [int(state["step"]) for state in optimizer.state.values()] == [3] * 3


def test_norms_and_metrics_are_launches_more(driver: StubDriver) -> None:
    compensation = Compensation(warmup_epochs=1, batches_per_epoch=3)
    options: dict[str, Any] = {
        "momentum": 0.9,
        "update_quantizer": Grid(64.0),
        "compensation": compensation,
        "max_grad_norm": 1.0,
    }
    optimizer = QuantizedSGD(make_params(), 0.1, backend="triton", **options)
    optimizer.collect_metrics()
    optimizer.step()
    norm = [("fold_kernel", 3), ("fold_kernel", 1)]  # of each tensor's sum at its place, and of all of them
    look = [("prepare_kernel", 1), ("step_kernel", 5), ("fold_kernel", 30)]
    assert names(driver) == [("squares_kernel", 5), ("fold_kernel", 3), *norm, *look, *norm, *look]


def test_a_run_of_mixed_weights_compiles_three_kernels_and_a_change_none(driver: StubDriver) -> None:
    optimizer = SGLD(make_params(torch.float32), 0.1, temperature=1.0, momentum=0.9, seed=1, backend="triton")
    optimizer.step()
    assert len(launch.compiled_kernels) == MOST_IN_A_RUN
    group = optimizer.param_groups[0]
    changes: list[tuple[str, Any]] = [("lr", 1.0), ("lr", 0.0), ("temperature", 0.0), ("temperature", 16.0), ("noise", "uniform")]
    changes += [
        ("update_quantizer", Grid(1.0)),
        ("grad_quantizer", Grid(64.0, "dither")),
        ("momentum", 0.5),
        ("noise", "rademacher"),
        ("weight_decay", 1.0),
    ]
    changes += [("param_rounding", "nearest"), ("chain", 2**32 - 1), ("maximize", True), ("seed", 2**64 - 1)]
    for name, value in changes:
        group[name] = value
        optimizer.step()
    for state in optimizer.state.values():
        state["step"].fill_(2**32 - 3)
    optimizer.step()
    assert len(launch.compiled_kernels) == MOST_IN_A_RUN
    assert len(driver.launches) == 3 * (2 + len(changes)) + 2 + len(changes)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_dtype_is_none_of_the_kernels_business(default: torch.dtype, driver: StubDriver) -> None:
    """A kernel that was compiled for another type would read found_inf, or the scale, as that."""
    seen = []
    for dtype in (default, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            optimizer = SGLD(make_params(), 0.1, temperature=1.0, max_grad_norm=1.0, seed=1, backend="triton")
            optimizer.collect_metrics()
            optimizer.step()
        finally:
            torch.set_default_dtype(torch.float32)
        seen.append([[getattr(a, "dtype", None) for a in one.arguments] for one in driver.launches])
        driver.launches.clear()
    assert seen[0] == seen[1] and len(seen[0]) > 3


def test_a_type_of_its_own_is_a_kernel_of_its_own(driver: StubDriver) -> None:
    found = []
    for dtype in (torch.float32, torch.float64):
        numbers = torch.zeros(1, dtype=torch.float64)
        found.append(launch.find_compiled(squares.call_fold(numbers, numbers, torch.zeros(1, dtype=dtype), 1)))
    assert found[0] is not found[1]


def fail(*args: Any, **kwargs: Any) -> None:
    raise ValueError("no such instruction")


@pytest.mark.parametrize("steps_before", [0, 1])
def test_what_cannot_be_compiled_changes_nothing(driver: StubDriver, steps_before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step, and the first that is observed, of counters on the device: the kernel of the scalars advances them."""
    optimizer = SGLD(make_params(), 0.1, temperature=1.0, momentum=0.9, seed=1, backend="triton", capturable=True)
    for _ in range(steps_before):
        optimizer.step()
    optimizer.collect_metrics()
    driver.launches.clear()
    with monkeypatch.context() as patched:
        patched.setattr(launch, "find_compiled", fail)
        with pytest.raises(BackendError, match="Triton failed on cpu: no such instruction"):
            optimizer.step()
    assert not driver.launches
    assert len(optimizer.state) == (len(SIZES) if steps_before else 0) or not any(optimizer.state.values())
    optimizer.step()
    assert [one.kernel for one in driver.launches] == ["prepare_kernel", "step_kernel", "fold_kernel"]


def test_a_launch_that_fails_is_named(driver: StubDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = SGLD(make_params(), 0.1, temperature=0.0, backend="triton")
    optimizer.step()
    monkeypatch.setattr(launch, "find_compiled", fail)
    with pytest.raises(BackendError, match="Triton failed on cpu"):
        optimizer.step()
    assert [int(state["step"]) for state in optimizer.state.values()] == [1] * 3


FIRST = """
import sys, time
sys.path.insert(0, {root!r})
from tests.triton.stub_driver import stub_driver
from tests.triton.test_launches import make_params
from qlangevin import SGLD
params = make_params()
with stub_driver():
    optimizer = SGLD(params, 0.1, temperature=1.0, momentum=0.9, seed=1, backend="triton")
    start = time.perf_counter()
    optimizer.step()
    print(time.perf_counter() - start)
"""


def test_the_first_step_compiles_within_seconds_and_the_next_process_s_does_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FIRST.format(root=str(ROOT))]
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    seconds = [
        float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout) for _ in range(2)
    ]
    print("first step of a process:", seconds)
    assert seconds[1] < seconds[0] and seconds[0] < 4 * FIRST_CALL  # tests share the machine with others
