"""The built module's CUDA kernels, as far as a machine without a GPU can see them: its machine code, its PTX, its words."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from qlangevin import __main__ as main_module
from qlangevin.native_module import cuda_architectures, explain_cuda, native
from tests.design.sources import ROOT, read

# The rules that have kernels of their own, and their states.
STATES = {"Plain": 0, "Momentum": 1, "RMSprop": 1, "Adam": 2, "AdamAmsgrad": 3, "Adadelta": 2}
STATES |= {"RMSpropCentered": 2, "RMSpropMomentum": 2, "RMSpropCenteredMomentum": 3}
FILES = len(STATES) * 2 + 2  # a rule's kernels of certain types and of any; rules.cu and launch.cu
MOST_KERNELS = 100  # of an architecture: the limit that keeps the build below ten minutes


def find_cuobjdump() -> str | None:
    """CUDA's tool that reads compiled kernels: the toolkit's, or the one in the triton wheel."""
    inside = ("backends", "nvidia", "bin", "cuobjdump")
    places = [Path(folder, "triton", *inside) for folder in sys.path if folder]
    return shutil.which("cuobjdump") or next((str(place) for place in places if place.is_file()), None)


CUOBJDUMP = find_cuobjdump()
built = pytest.mark.skipif(
    not cuda_architectures(), reason="built without CUDA kernels: there was no nvcc, or QLANGEVIN_CUDA was OFF"
)
readable = pytest.mark.skipif(CUOBJDUMP is None, reason="there is no cuobjdump; the triton wheel of requirements/dev.txt has one")


@cache
def dump(*options: str) -> str:
    """What cuobjdump says of the module."""
    assert CUOBJDUMP is not None and native is not None
    return subprocess.run([CUOBJDUMP, *options, native.__file__], capture_output=True, text=True, check=True).stdout


def kernels_of(architecture: int) -> list[str]:
    """The mangled names of an architecture's kernels."""
    return re.findall(r"STO_ENTRY +(\w+)", dump("-symbols", "-arch", f"sm_{architecture}"))


def expected_step_kernels() -> int:
    """Three types of parameters, whose gradients have it too, and two of states; for any types one, and two observed."""
    return sum(3 * (2 if states else 1) + 3 for states in STATES.values())


@built
@readable
def test_there_is_machine_code_for_each_architecture_and_ptx_of_the_newest() -> None:
    code = re.findall(r"sm_(\d+)\.cubin", dump("-lelf"))
    assert {int(found) for found in code} == set(cuda_architectures())
    assert len(code) == FILES * len(cuda_architectures())
    ptx = re.findall(r"sm_(\d+)\.ptx", dump("-lptx"))
    assert [int(found) for found in ptx] == [cuda_architectures()[-1]] * FILES


@built
@readable
def test_the_number_of_kernels() -> None:
    for architecture in cuda_architectures():
        kernels = kernels_of(architecture)
        assert len(kernels) == len(set(kernels)) <= MOST_KERNELS
        assert sum("step_kernel" in name for name in kernels) == expected_step_kernels()
        for rule in STATES:
            assert sum(f"step_kernelINS_{len(rule)}{rule}E" in name for name in kernels) > 0, rule


def test_every_rule_with_kernels_is_counted() -> None:
    assert re.findall(r"set\(kernel_rules ([^)]*)\)", read("CMakeLists.txt")) == [" ".join(STATES)]


@built
@readable
def test_no_two_operations_are_rounded_as_one() -> None:
    ptx = dump("-ptx")
    operations = re.findall(r"\b((?:fma|mad|add|sub|mul)\.(?:\w+\.)*(?:f16|f16x2|bf16|bf16x2|f32|f64))\b", ptx)
    assert len(operations) > 1000
    assert {name for name in operations if not re.fullmatch(r"(add|sub|mul)\.rn\.f(32|64)", name)} == set()  # .rn is never fused
    assert not re.search(r"\.(approx|ftz)\b", ptx)
    assert set(re.findall(r"ptxasOptions = *(.*\S)", ptx)) == {"--fmad false"}  # for the driver's own compiler


COMMANDS = ROOT / "build" / "native" / "compile_commands.json"


@built
@pytest.mark.skipif(not COMMANDS.exists(), reason="the module was not built by make, which keeps the compile commands")
def test_every_cuda_source_is_compiled_without_contraction() -> None:
    commands = {entry["file"]: entry["command"] for entry in json.loads(COMMANDS.read_text()) if entry["file"].endswith(".cu")}
    assert len(commands) == FILES
    for file, command in commands.items():
        assert "--fmad=false" in command and "-ffp-contract=off" in command, file
        assert not re.search(r"fast.?math|ftz=true|prec-(div|sqrt)=false|-allow-expensive", command), file


@built
def test_the_module_needs_no_library_of_cuda() -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("there is no readelf")
    needed = subprocess.run([readelf, "-d", native.__file__], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" in needed
    assert not re.search(r"NEEDED.*(cuda|cudart|nv)", needed)


@built
def test_an_unusable_device_is_explained_by_the_error_s_name() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "from qlangevin import _native; print(_native.why_no_cuda(0))"],
        env={"CUDA_VISIBLE_DEVICES": ""},  # of a machine that has devices
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.fullmatch(r"\w.* \((cudaErrorInsufficientDriver|cudaErrorNoDevice|cudaErrorStubLibrary)\)\n", found), found


@built
def test_a_device_that_is_not_there_is_explained() -> None:
    why = explain_cuda(1000)
    assert why is not None and why.startswith("CUDA device 1000 is not usable: ")


def test_a_build_without_cuda_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutCuda:
        cuda_architectures: tuple[int, ...] = ()

    for module in (None, WithoutCuda()):
        monkeypatch.setattr("qlangevin.native_module.native", module)
        why = explain_cuda(0)
        assert why is not None
        for word in ("nvcc", "PATH", "CUDA_HOME", "nvidia-cuda-nvcc", "QLANGEVIN_CUDA=ON"):
            assert word in why
        assert cuda_architectures() == ()


def test_info_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    main_module.print_cuda()
    printed = capsys.readouterr().out
    assert (explain_cuda(0) or ": usable") in printed
    for architecture in cuda_architectures():
        assert f" {architecture / 10:.1f}" in printed


def test_pip_is_told_one_release_of_all_of_nvcc() -> None:
    releases = re.findall(r"^nvidia-[\w-]+==(\d+\.\d+)\.", read("requirements/nvcc.txt"), flags=re.MULTILINE)
    assert len(releases) == 4 and len(set(releases)) == 1
