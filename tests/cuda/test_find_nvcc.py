"""Which nvcc the build takes, and what it says where it can take none: cmake/ run as scripts, with compilers that only talk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.design.sources import ROOT

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
CMAKE = shutil.which("cmake") or ""
SHOWN = ("nvcc", "nvcc_version", "no_nvcc", "CMAKE_CUDA_FLAGS", "architectures", "CMAKE_CUDA_ARCHITECTURES")


def make_nvcc(folder: Path, release: str = "13.0", runtime: str = "", library: str = "") -> Path:
    """A toolkit whose nvcc only says its release and its architectures."""
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "release {release}, V{release}.1" || echo "sm_80\nsm_90\nsm_120"\n')
    nvcc.chmod(0o755)
    if runtime:
        (folder / "include").mkdir()
        (folder / "include" / "cuda_runtime_api.h").write_text(f"#define CUDART_VERSION  {runtime}\n")
    if library:
        (folder / library).mkdir()
        (folder / library / "libcudart_static.a").touch()
    return nvcc


def run_cmake(script: Path, python: str = "true", architectures: str = "", **environment: str) -> dict[str, str]:
    """The variables that the build's scripts set."""
    lines = ["cmake_minimum_required(VERSION 3.22)", f"include({ROOT}/cmake/find_nvcc.cmake)"]
    lines += ["if(NOT no_nvcc)", f"include({ROOT}/cmake/cuda_architectures.cmake)", "endif()"]
    lines += [f'message("{name}=${{{name}}}")' for name in SHOWN]
    script.write_text("\n".join(lines))
    command = [CMAKE, f"-DPython_EXECUTABLE={python}", f"-DQLANGEVIN_CUDA_ARCHS={architectures}", "-P", str(script)]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return {"error": " ".join(done.stderr.split())}
    return dict(line.split("=", 1) for line in done.stderr.splitlines() if "=" in line)


def test_none_is_found(tmp_path: Path) -> None:
    found = run_cmake(tmp_path / "run.cmake", CUDA_HOME=str(tmp_path))
    assert found["no_nvcc"] == "no nvcc was found on the PATH, in CUDA_HOME or among PyPI's packages"


def test_the_order_of_places(tmp_path: Path) -> None:
    pypi = make_nvcc(tmp_path / "site" / "nvidia" / "cu13")
    make_nvcc(tmp_path / "site" / "nvidia" / "cu12", "12.9")
    path, home, named = (make_nvcc(tmp_path / name) for name in ("path", "home", "named"))
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    for place, added in (
        (pypi, {}),
        (path, {"PATH": f"{path.parent}:/usr/bin:/bin"}),
        (home, {"CUDA_PATH": str(home.parents[1])}),
        (named, {"CUDACXX": str(named)}),
    ):
        environment |= added
        found = run_cmake(tmp_path / "run.cmake", sys.executable, **environment)
        assert (found["nvcc"], found["nvcc_version"], found["no_nvcc"]) == (str(place), "13.0", "")


@pytest.mark.parametrize(
    ("release", "runtime", "words"),
    [
        ("11.8", "", "is of CUDA 11.8, too old for C++20: 12.0 or later is needed"),
        ("nonsense", "", "does not run"),
        ("13.0", "13050", "is of CUDA 13.0 but its runtime of 13.5: all must be of one release"),
        ("13.0", "13000", ""),
        ("12.9", "12090", ""),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, release: str, runtime: str, words: str) -> None:
    make_nvcc(tmp_path / "home", release, runtime)
    found = run_cmake(tmp_path / "run.cmake", CUDA_HOME=str(tmp_path / "home"))
    assert words in found["no_nvcc"] and bool(words) == bool(found["no_nvcc"])


@pytest.mark.parametrize("library", ["lib", "lib64"])
def test_where_pypi_keeps_the_libraries(tmp_path: Path, library: str) -> None:
    make_nvcc(tmp_path / "home", library=library)
    found = run_cmake(tmp_path / "run.cmake", CUDA_HOME=str(tmp_path / "home"))
    assert found["CMAKE_CUDA_FLAGS"].strip() == (f"-L{tmp_path}/home/lib" if library == "lib" else "")


@pytest.mark.parametrize(
    ("wanted", "architectures", "compiled"),
    [
        ("", "80;90", "80-real;90-real;90-virtual"),  # of the four, those that this nvcc knows
        ("120,90, 90", "90;120", "90-real;120-real;120-virtual"),
        ("80", "80", "80-real;80-virtual"),
    ],
)
def test_architectures(tmp_path: Path, wanted: str, architectures: str, compiled: str) -> None:
    make_nvcc(tmp_path / "home")
    found = run_cmake(tmp_path / "run.cmake", architectures=wanted, CUDA_HOME=str(tmp_path / "home"))
    assert (found["architectures"], found["CMAKE_CUDA_ARCHITECTURES"]) == (architectures, compiled)


@pytest.mark.parametrize("wanted", ["75", "90a", "sm_90", "native"])
def test_unknown_architectures(tmp_path: Path, wanted: str) -> None:
    make_nvcc(tmp_path / "home")
    found = run_cmake(tmp_path / "run.cmake", architectures=wanted, CUDA_HOME=str(tmp_path / "home"))
    assert f"QLANGEVIN_CUDA_ARCHS: nvcc 13.0 knows 80, 90, 120; got '{wanted}'" in found["error"]
