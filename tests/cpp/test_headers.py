"""Every header of csrc compiles on its own, and csrc/core includes nothing but the standard library and itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
COMPILER = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
HEADERS = sorted(header for folder in ("core", "cpu", "cuda") for header in (CSRC / folder).glob("*.h"))
STANDARD = {
    "algorithm",
    "cmath",
    "cstddef",
    "cstdint",
    "cstring",
    "limits",
    "stdexcept",
    "string",
    "type_traits",
    "utility",
    "vector",
}


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler was found")
@pytest.mark.parametrize("header", HEADERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_header_compiles_alone(header: Path) -> None:
    command = [
        str(COMPILER),
        "-std=c++20",
        "-fsyntax-only",
        "-x",
        "c++",
        "-Wall",
        "-Wno-psabi",
        "-w",
        "-DQL_GPU_ON_HOST",  # csrc/cuda without nvcc
    ]
    done = subprocess.run([*command, str(header)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize("header", sorted((CSRC / "core").glob("*.h")), ids=lambda path: path.name)
def test_the_core_includes_only_itself_and_the_standard_library(header: Path) -> None:
    text = header.read_text()
    assert set(re.findall(r"#include <([^>]+)>", text)) <= STANDARD
    assert all((CSRC / "core" / name).exists() and "/" not in name for name in re.findall(r'#include "([^"]+)"', text))
