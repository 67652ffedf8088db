"""Every test of the optimizers again, with the CUDA backend's own source in the place of the CPU's kernels (tier T4).

A process of its own: which memory counts as a GPU's is one setting for all of it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.design.sources import ROOT

from .on_host import missing


@pytest.mark.skipif(missing is not None, reason=str(missing))
def test_the_optimizers_on_cuda_plans() -> None:
    environment = {**os.environ, "QLANGEVIN_GPU_ON_HOST": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/optim"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
