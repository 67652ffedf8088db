"""When Triton steps: what "auto" takes, and what the refusals say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import SGLD, BackendError, backends
from qlangevin.backends import native, triton_support
from qlangevin.backends.triton import TritonBackend

CPU, GPU, XPU = torch.device("cpu"), torch.device("cuda", 0), torch.device("xpu")
FLOATS = (torch.float32,) * 3


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What is found out once is found out anew."""
    triton_support.why_no_triton.cache_clear(), triton_support.why_no_driver.cache_clear()
    yield
    triton_support.why_no_triton.cache_clear(), triton_support.why_no_driver.cache_clear()


def find_module(monkeypatch: pytest.MonkeyPatch, **modules: Any) -> None:
    """Imports these in the place of the real ones; an exception is raised."""

    def load(name: str) -> Any:
        found = modules[name.replace(".", "_")]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(triton_support.importlib, "import_module", load)


def test_tensors_of_the_cpu_are_refused_with_the_cause_and_the_alternatives() -> None:
    optimizer = SGLD([Parameter(torch.ones(3))], 0.1, temperature=0.0, backend="triton")
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3)
    with pytest.raises(BackendError, match=r"run on GPUs, .*TRITON_INTERPRET=1.*Usable for them: native, reference"):
        optimizer.step()
    assert not optimizer.state


def test_a_machine_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_support.importlib.util, "find_spec", lambda name: None)
    assert triton_support.why_not(GPU) == "Triton is not installed; pip install 'triton>=3.6'"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (SimpleNamespace(__version__="3.5.1"), "Triton 3.5.1 is too old; pip install 'triton>=3.6'"),
        (ImportError("libcuda"), "Triton of an unknown version is installed, but its import failed: libcuda"),
        (SimpleNamespace(__version__="main"), "Triton main is installed, but its import failed: invalid literal"),
    ],
)
def test_a_triton_that_cannot_be_used(module: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_support.importlib.util, "find_spec", lambda name: object())
    find_module(monkeypatch, triton=module)
    assert str(triton_support.why_not(GPU)).startswith(reason)


def driver(active: bool) -> Any:
    return SimpleNamespace(driver=SimpleNamespace(is_active=lambda: active))


@pytest.mark.parametrize(
    ("device", "found", "reason"),
    [
        (GPU, {"amd": driver(True)}, "the installed Triton has no backend for NVIDIA devices, only for: amd"),
        (
            torch.device("xpu"),
            {"nvidia": driver(True)},
            "the installed Triton has no backend for Intel devices, only for: nvidia",
        ),
        (torch.device("mps"), {"nvidia": driver(True)}, "the installed Triton has no backend for mps devices, only for: nvidia"),
        (GPU, {"nvidia": driver(False)}, "Triton finds no usable driver for NVIDIA devices"),
        (GPU, {"nvidia": driver(True)}, "Triton needs compute capability 8.0, and cuda:0 has 7.5"),
        (XPU, {"intel": driver(True)}, None),
    ],
)
def test_devices_that_triton_cannot_reach(device: Any, found: Any, reason: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find_module(monkeypatch, triton_backends=SimpleNamespace(backends=found))
    monkeypatch.setattr(triton_support, "why_no_triton", lambda: None)
    monkeypatch.setattr(triton_support, "why_no_kernels", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert triton_support.why_not(device) == reason


def test_amd_s_devices_are_cuda_s_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    find_module(monkeypatch, triton_backends=SimpleNamespace(backends={"nvidia": driver(True)}))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert "AMD" in str(triton_support.why_no_driver(GPU))


def test_the_interpreter_is_for_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "TRITON_INTERPRET=1" in str(triton_support.why_not(GPU))
    assert TritonBackend().is_chosen_by_name_only(CPU) and not TritonBackend().is_chosen_by_name_only(GPU)


@pytest.mark.parametrize("value", ["1", "true", "ON", "y", "Yes", "0", "", "off", "no", "2"])
def test_what_makes_triton_interpret_is_known(value: str) -> None:
    """A kernel in the interpreter would read a GPU's addresses as the CPU's."""
    program = "from qlangevin.backends.device import is_interpreting; from triton import knobs\n"
    program += "assert is_interpreting() == knobs.runtime.interpret, knobs.runtime.interpret"
    environment = os.environ | {"TRITON_INTERPRET": value}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.mark.parametrize(("at_import", "later", "device"), [("1", "0", GPU), ("0", "1", CPU)])
def test_kernels_that_were_imported_for_another_memory_are_refused(at_import: str, later: str, device: torch.device) -> None:
    program = f"""
import os, torch
from qlangevin.backends import triton_support
triton_support.load_kernels()
os.environ["TRITON_INTERPRET"] = {later!r}
print(triton_support.why_not(torch.device({str(device)!r})))
"""
    environment = os.environ | {"TRITON_INTERPRET": at_import}
    told = subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True).stdout
    assert "changed after Triton's kernels were imported" in told


def test_binary64_is_the_reference_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_support, "why_not", lambda device: None)
    assert "not float64" in str(TritonBackend().why_not(GPU, (torch.float64,) * 3))
    assert TritonBackend().why_not(GPU, (torch.float16, torch.bfloat16, torch.float32)) is None


@pytest.mark.parametrize(
    ("has_native", "has_triton", "chosen"),
    [(True, True, "native"), (True, False, "native"), (False, True, "triton"), (False, False, "reference")],
)
def test_auto_on_a_gpu(has_native: bool, has_triton: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.NativeBackend, "why_not", lambda *_: None if has_native else "not built")
    monkeypatch.setattr(triton_support, "why_not", lambda device: None if has_triton else "not installed")
    assert backends.find_automatic(GPU, FLOATS).name == chosen


def test_auto_on_the_cpu_never_interprets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(native.NativeBackend, "why_not", lambda *_: "not built")
    monkeypatch.setattr(triton_support, "why_not", lambda device: None)
    assert backends.find_automatic(CPU, FLOATS).name == "reference"


def test_the_kernels_are_not_imported_for_the_cpu_s_tensors() -> None:
    program = """
import sys, torch, qlangevin
param = torch.nn.Parameter(torch.ones(3))
param.grad = torch.ones(3)
qlangevin.SGLD([param], 0.1, temperature=0.0).step()
assert "qlangevin.triton_kernels" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
