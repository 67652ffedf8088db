"""Builds the native module with CMake and Ninja; CMakeLists.txt holds everything else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class CMakeExtension(Extension):
    def __init__(self, name: str) -> None:
        super().__init__(name, sources=[])


class CMakeBuild(build_ext):
    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        # pip's is another one each time, and everything is built anew.
        build = Path(os.environ.get("QLANGEVIN_BUILD_DIR") or self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        configure = [
            "cmake",
            "-G",
            "Ninja",
            f"-S{Path(__file__).parent.resolve()}",
            f"-B{build}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
            *(f"-D{name}={os.environ[name]}" for name in ("QLANGEVIN_CUDA", "QLANGEVIN_CUDA_ARCHS") if os.environ.get(name)),
            *os.environ.get("QLANGEVIN_CMAKE_ARGS", "").split(),
        ]
        (build / "CMakeCache.txt").unlink(missing_ok=True)  # an earlier build's names a Ninja of an environment that is gone
        try:
            subprocess.run(configure, check=True)
            subprocess.run(["cmake", "--build", str(build), "--target", ext.name.rpartition(".")[2]], check=True)
        except subprocess.CalledProcessError:
            raise SystemExit(
                "qlangevin: the native module could not be built; the reason stands above. It needs a C++20 compiler (GCC 11 or "
                "Clang 14 and later). QLANGEVIN_CUDA=OFF pip install . leaves out the CUDA kernels; "
                "QLANGEVIN_NO_NATIVE=1 pip install . installs without a compiler: Triton on GPUs, the slow reference elsewhere."
            ) from None


names = ["qlangevin._native"]
if "QLANGEVIN_TEST_PATHS=ON" in os.environ.get("QLANGEVIN_CMAKE_ARGS", ""):
    names.append("qlangevin._gpu_on_host")  # the CUDA kernels' source, compiled for the host
native = [] if os.environ.get("QLANGEVIN_NO_NATIVE") == "1" else list(map(CMakeExtension, names))
setup(ext_modules=native, cmdclass={"build_ext": CMakeBuild})
