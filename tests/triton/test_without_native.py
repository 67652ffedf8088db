"""A pure-Python installation: QLANGEVIN_NO_NATIVE=1 pip install, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qlangevin import selftest

from ..design.sources import ROOT

KEPT = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "CMakeLists.txt")
# The checkout's own modules would be found for what is missing.
ALONE = "import sys; sys.meta_path[:] = [one for one in sys.meta_path if 'ditable' not in getattr(one, '__module__', '')]\n"
INFO = "from qlangevin.__main__ import main; main(['info'])"
STEP = """
import hashlib, torch, warnings
from qlangevin import SGLD
params = [torch.nn.Parameter(torch.linspace(-1, 1, 300).to(dtype)) for dtype in (torch.float32, torch.bfloat16)]
optimizer = SGLD(params, 0.1, temperature=1.0, momentum=0.9, seed=5, max_grad_norm=0.5{arguments})
optimizer.collect_metrics()
for step in range(3):
    for param in params:
        param.grad = (param.detach() * (step + 1)).clone()
    optimizer.step()
values = [*params, *(optimizer.state[param]["momentum_buffer"] for param in params)]
digest = hashlib.sha256()
for value in values:
    digest.update(bytes(value.detach().view(torch.uint8).tolist()))
print(digest.hexdigest(), *(int(optimizer.state[param]["step"]) for param in params))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it was installed into."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in KEPT:
        shutil.copy(ROOT / name, source / name)
    for name in ("qlangevin", "triton_kernels"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "triton_kernels"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--target", str(target)]
    environment = os.environ | {"QLANGEVIN_NO_NATIVE": "1", "PATH": "/nowhere"}  # neither a compiler nor CMake
    subprocess.run([*command, str(source)], check=True, env=environment, capture_output=True, text=True)
    return target


def run(folder: Path, program: str, **variables: str) -> str:
    """What a program prints that finds the package in a folder."""
    command = [sys.executable, "-W", "ignore", "-c", program]
    environment = os.environ | {"PYTHONPATH": str(folder), **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_was_compiled(installed: Path) -> None:
    assert (installed / "qlangevin" / "triton_kernels" / "step.py").is_file()
    assert not list(installed.rglob("*.so"))


def test_info_explains_the_choice(installed: Path) -> None:
    told = run(installed, ALONE + INFO)
    assert "The native module is not installed." in told and "auto takes reference" in told
    assert "native     not usable: the native module could not be imported" in told
    assert "triton     not usable: Triton's kernels run on GPUs" in told
    assert told.count("self-test passed") == len(selftest.CASES) and "QLANGEVIN_CPU" not in told


def test_the_bits_are_those_of_the_c_plus_plus_kernels(installed: Path) -> None:
    compiled = run(ROOT, STEP.format(arguments=', backend="native"'))
    assert run(installed, ALONE + STEP.format(arguments="")) == compiled
    pytest.importorskip("triton")
    assert run(installed, ALONE + STEP.format(arguments=', backend="triton"'), TRITON_INTERPRET="1") == compiled
