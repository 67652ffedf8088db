"""The programs the tests of the machine code need, and what they say."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "machine"  # compiled once; the names hold a hash of what they were made from


class MissingToolError(Exception):
    """A program that is not installed."""


def find_all(name: str) -> list[str]:
    """Where a program is: on the path, in a CUDA toolkit, in the triton package."""
    places = [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    if nvcc := shutil.which("nvcc"):
        places.append(str(Path(nvcc).resolve().parent))
    triton = importlib.util.find_spec("triton")
    if triton is not None and triton.origin:
        places.append(str(Path(triton.origin).parent / "backends" / "nvidia" / "bin"))
    return [found for place in places if (found := shutil.which(name, path=place))]


@cache
def find(name: str) -> str:
    """Where a program is, or an error that names it."""
    for found in find_all(name):
        return found
    raise MissingToolError(f"{name} was not found")


def run(command: list[str], cwd: Path | None = None) -> str:
    """What a command prints; an error with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def cache_folder() -> Path:
    """Where compiled files are kept."""
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE
