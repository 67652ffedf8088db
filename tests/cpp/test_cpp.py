"""Configures, builds and runs the C++ tests of csrc/core (tier T0) with AddressSanitizer and UBSan."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(command: list[str], **options: object) -> None:
    """Runs a command, prints what it printed, and fails with its name if it failed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout[-8000:]}"


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_core_in_cpp(tmp_path: Path) -> None:
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run(["cmake", *generator, "-S", str(HERE), "-B", str(tmp_path), "-DCMAKE_BUILD_TYPE=None"])
    run(["cmake", "--build", str(tmp_path), "--parallel", "2"])
    # The pool of worker threads is never destroyed, on purpose.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    run([str(tmp_path / "qlangevin_core_tests")], env=environment, timeout=300)
