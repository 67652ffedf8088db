"""Runs what needs Triton's interpreter in processes of their own, where TRITON_INTERPRET is set before Triton is imported (T3).

The kernels' own tests; those of the optimizers with the Triton backend in the place of the native one; the GPU's in miniature.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from ..design.sources import ROOT

pytest.importorskip("triton")
HERE = Path(__file__).parent
FULL = os.environ.get("QLANGEVIN_FULL") == "1"
TIMEOUT = 3000  # seconds; a run takes one to three minutes, QLANGEVIN_FULL=1 ten
IN_PLACE = ["-p", "tests.triton.in_place_of_native"]
OPTIMIZERS = ["contract", "clipping", "compensation", "adaptive_resolution", "no_ops", "schedules", "amp", "layouts", "groups"]
MINIATURE = {"QLANGEVIN_GPU_BACKEND": "triton", "QLANGEVIN_GPU_SMALL": "1", "QLANGEVIN_GPU_REQUIRED": "1"}
SURROUNDED = ["-p", "tests.triton.interpreted.conftest"]


def optim(*names: str) -> list[str]:
    """Files of tests/optim."""
    return [f"tests/optim/test_{name}.py" for name in names]


# name -> what pytest is told; longest first. A test may be left out there for want of a GPU if the name begins with "gpu".
RUNS: dict[str, list[str]] = {
    "optimizers, every form": [*IN_PLACE, *optim("every_optimizer")],
    "gpu optimizers": [*SURROUNDED, "tests/gpu/test_gpu_optimizers.py"],
    "gpu kernels": [*SURROUNDED, "tests/gpu/test_gpu_triton.py"],
    **{path.stem: [str(path)] for path in sorted((HERE / "interpreted").glob("test_*.py"))},
    "gpu graphs and streams": [*SURROUNDED, "tests/gpu/test_gpu_graphs.py", "tests/gpu/test_gpu_streams.py"],
    "optimizers, drawn configurations": [*IN_PLACE, *optim("backend_parity")],
    "optimizers": [*IN_PLACE, *optim(*OPTIMIZERS)],
    "optimizers, metrics": [*IN_PLACE, *optim("metrics_parity")],
}


def run(name: str) -> subprocess.CompletedProcess[str]:
    """One run, to its end."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *RUNS[name]]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", **(MINIATURE if name.startswith("gpu") else {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The runs that were asked for, as many at a time as there are cores."""
    asked = [
        item.callspec.params["name"] for item in request.session.items if item.fspath == __file__ and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(run, name) for name in asked}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", RUNS)
def test_in_the_interpreter(name: str, running: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    ran = running[name].result()
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout, ran.stdout[-2000:]
    assert name.startswith("gpu") or "skipped" not in ran.stdout, ran.stdout[-2000:]
