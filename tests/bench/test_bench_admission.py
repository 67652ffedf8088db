"""What may be timed: rivals that are installed, and backends whose self-test is green."""

from __future__ import annotations

import types
from importlib.machinery import ModuleSpec

import pytest
import torch

from qlangevin import selftest
from qlangevin.bench import admission
from qlangevin.bench import cases as cases_module
from qlangevin.bench.admission import LeftOut, admit
from qlangevin.bench.cases import CASES, F32, Case, EagerLangevin, Package, rival

from .conftest import FUSED, OURS, OURS_BF16

CPU = torch.device("cpu")
ABSENT = Case("absent", F32, rival("no_such_module", "SGD"), "rival", Package("no_such_module", "no-such-package"))


def test_a_rival_that_is_not_installed_is_said_and_no_error() -> None:
    found = admit([FUSED, ABSENT], CPU)
    assert found.cases == [FUSED] and not found.red
    assert found.left_out == [LeftOut("absent", "not installed: no_such_module (pip install no-such-package)")]


def test_an_installed_rival_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("no_such_module")
    module.__spec__ = ModuleSpec("no_such_module", None)
    module.SGD = lambda params, lr, momentum: (params, lr, momentum)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "no_such_module", module)
    assert admit([ABSENT], CPU).cases == [ABSENT]
    assert rival("no_such_module", "SGD", momentum=0.9)([]) == ([], 1e-3, 0.9)  # type: ignore[comparison-overlap]


def test_a_red_self_test_refuses_the_backend_s_cases_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert admit([FUSED, OURS, OURS_BF16], CPU).cases == [FUSED, OURS, OURS_BF16]
    monkeypatch.setattr(selftest, "check_backend", lambda *asked: {"plain float32": True, "momentum": False})
    found = admit([FUSED, OURS, OURS_BF16], CPU)
    assert found.cases == [FUSED] and found.red
    (entry,) = found.left_out
    assert entry.what == "2 cases of qlangevin"
    assert entry.why == "backend native fails its self-test (momentum): wrong results are not timed"


def test_a_self_test_that_breaks_off_is_red_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, device: torch.device) -> dict[str, bool]:
        raise TypeError("step(): incompatible function arguments\nsecond line")

    monkeypatch.setattr(selftest, "check_backend", fail)
    found = admit([FUSED, OURS], CPU)
    assert found.cases == [FUSED] and found.red
    assert "fails its self-test (TypeError: step(): incompatible function arguments): wrong" in found.left_out[0].why


def test_the_self_test_asks_the_backend_that_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, torch.device]] = []
    monkeypatch.setattr(selftest, "check_backend", lambda *what: asked.append(what) or {})
    admit([FUSED], CPU)
    assert asked == []
    stepper = admit([OURS], CPU).cases[0].make([torch.nn.Parameter(torch.ones(2))])
    assert asked == [(stepper.backend, CPU)] == [("native", CPU)]  # type: ignore[attr-defined]


def test_without_kernels_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "kernel_backend", lambda device: None)
    monkeypatch.setattr(admission, "explain_backends", lambda device, dtypes: {"native": "no compiler", "reference": None})
    found = admit([FUSED, OURS], CPU)
    assert found.cases == [FUSED] and not found.red
    assert found.left_out[0].why == "no backend with kernels for cpu tensors (native: no compiler)"


def test_the_slow_reference_counts_as_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cases_module.kernel_backend(CPU) == "native"
    monkeypatch.setattr(cases_module, "explain_backends", lambda device, dtypes: {"native": "no compiler", "reference": None})
    assert cases_module.kernel_backend(CPU) is None


def test_the_self_test_runs_where_the_cases_do(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, torch.device]] = []
    monkeypatch.setattr(admission, "kernel_backend", lambda device: "native")
    monkeypatch.setattr(selftest, "check_backend", lambda *what: asked.append(what) or {"plain float32": False})
    found = admit([FUSED, OURS], torch.device("cuda"))
    assert found.cases == [FUSED] and found.red and asked == [("native", torch.device("cuda"))]


def test_the_real_rivals_are_named_with_what_to_install() -> None:
    rivals = {case.needs.module: case.needs.install for case in CASES if case.needs is not None}
    assert rivals == {"bitsandbytes": "bitsandbytes", "torch_sgld": "torch-sgld"}
    assert EagerLangevin([]).state == {}
