"""tests/gpu and the GPU's benchmark in miniature, with the host in the GPU's place: that they are right themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu import runner
from tests.gpu.commands import ROOT, Command, Outcome, run_all, without_paths
from tests.gpu.stages import FAILED, PASSED, SKIPPED, Device, count_reports, judge_sanitizer, judge_tests

try:
    from qlangevin import _gpu_on_host

    missing = None if _gpu_on_host else "empty"
except ImportError:
    missing = "the CUDA kernels were not compiled for the host; `make test` builds with -DQLANGEVIN_TEST_PATHS=ON"

INVALID = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at void {kernel}+0x90
=========     by thread (0,0,0) in block (0,0,0)
========= 
========= Program hit cudaErrorNotSupported (error 801) due to "operation not supported" on CUDA API call to cudaX.
=========     Host Frame: libtorch_cuda.so
========= 
========= ERROR SUMMARY: 2 errors
"""  # noqa: W291


@pytest.mark.skipif(missing is not None, reason=missing or "")
def test_every_stage_but_the_build_on_the_host(tmp_path: Path) -> None:
    env = {**os.environ, "QLANGEVIN_GPU_ON_HOST": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "tests.gpu.run", "--small", "--out", str(tmp_path), "--minutes", "4"]
    stages = ["build", "contract", "benchmark", "results"]
    done = subprocess.run([*words, "--stages", *stages], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    log = (tmp_path / "log.txt").read_text() if (tmp_path / "log.txt").is_file() else ""
    assert done.returncode == 0, done.stdout + done.stderr + log
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert {stage: facts["status"] for stage, facts in verdict.items()} == {
        "build": SKIPPED, "contract": PASSED, "benchmark": PASSED, "results": PASSED,
    }  # fmt: skip
    assert done.stdout.splitlines()[-1] == "verdict: passed"
    bench = json.loads((tmp_path / "bench.json").read_text())
    assert bench["complete"] and not bench["failed"] and len(bench["goals"]) > 30 and len(bench["rows"]) > 30
    assert any(line.startswith("Triton: Triton's kernels run on GPUs") for line in bench["left_out"])
    assert {"driver", "torch", "commit", "date"} <= set(bench["machine"])
    page = (tmp_path / "README.md").read_text()
    assert "| contract | passed |" in page and "## Growth" in page and "## 1 B elements" in page
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(missing is not None, reason=missing or "")
def test_kernels_and_the_sanitizer_s_script_on_the_host() -> None:
    env = {"QLANGEVIN_GPU_ON_HOST": "1", "QLANGEVIN_GPU_SMALL": "1", "QLANGEVIN_GPU_REQUIRED": "1", "OMP_NUM_THREADS": "1"}
    env |= {"QLANGEVIN_GPU_SHARD": "1/3"}
    commands = [
        Command("kernels", [sys.executable, "-m", "tests.gpu.runner", "tests/gpu/test_gpu_kernels.py"], env),
        Command("sanitized", [sys.executable, "-m", "tests.gpu.sanitized"], env),
    ]
    kernels, sanitized = run_all(commands, 240)
    assert judge_tests([kernels])[0] == PASSED, kernels.text
    assert judge_sanitizer([sanitized]) == (PASSED, "sanitized clean"), sanitized.text


def test_a_run_without_a_gpu_fails_at_once(tmp_path: Path) -> None:
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    env.pop("QLANGEVIN_GPU_ON_HOST", None)
    words = [sys.executable, "-m", "tests.gpu.run", "--out", str(tmp_path / "none")]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "torch finds no CUDA device" in done.stderr
    assert not (tmp_path / "none").exists()


def outcome(status: int | None, text: str) -> Outcome:
    return Outcome(Command("one", []), status, text, 1.0)


def test_verdicts_of_tests() -> None:
    assert judge_tests([outcome(0, "5 passed, 2 skipped in 1s"), outcome(0, "7 passed in 2s")]) == (
        PASSED,
        "12 passed, 2 skipped",
    )
    assert judge_tests([outcome(1, "1 failed, 5 passed in 1s")])[0] == FAILED
    assert judge_tests([outcome(0, "5 skipped in 1s")])[0] == FAILED, "nothing was tested"
    assert judge_tests([outcome(None, "....")])[0] == FAILED
    assert judge_tests([outcome(0, "5 passed in 1s"), outcome(2, "1 error in 1s")])[0] == FAILED


def test_verdicts_of_the_sanitizer() -> None:
    ours, others = INVALID.format(kernel="ql::cuda::step_kernel<1>"), INVALID.format(kernel="at::native::fill<1>")
    assert count_reports(ours) == (1, 1) and count_reports(others) == (0, 2)
    ran = "24 kernel steps equal to the reference\n"
    assert judge_sanitizer([outcome(0, ran + ours)]) == (FAILED, "one 1 reports")
    assert judge_sanitizer([outcome(0, ran + others)]) == (PASSED, "one clean (2 reports about kernels of others)")
    assert judge_sanitizer([outcome(1, "========= Error: Device not supported. Please refer")])[0] == SKIPPED
    assert judge_sanitizer([outcome(1, "AssertionError")])[0] == FAILED
    assert judge_sanitizer([outcome(None, "")])[0] == FAILED
    assert judge_sanitizer([])[0] == SKIPPED


def test_a_command_that_takes_too_long_is_ended() -> None:
    quick, slow = run_all(
        [
            Command("quick", [sys.executable, "-c", "print(1)"]),
            Command("slow", [sys.executable, "-c", "import time; time.sleep(60)"]),
        ],
        3.0,
    )
    assert (quick.status, quick.text) == (0, "1\n")
    assert slow.status is None and slow.describe() == "out of time after 3 s"


def test_a_log_names_no_folder_of_the_machine() -> None:
    text = f"{ROOT}/tests/a.py {sys.prefix}/lib/x.py in {'/ho' + 'me'}/user/a.py:3 b/c"
    assert without_paths(text) == "<root>/tests/a.py <python>/lib/x.py in <folder>:3 b/c"
    assert Device("NVIDIA H200", "90").slug == "nvidia-h200"


def test_the_stand_in_for_pytest(capsys: pytest.CaptureFixture[str]) -> None:
    stand_in, calls = runner.stand_in(), []

    @stand_in.mark.parametrize("a", [1, 2])
    @stand_in.mark.parametrize(("b", "c"), [(3, 4), (5, 6)])
    def test_pass(a: int, b: int, c: int) -> None:
        calls.append((a, b, c))
        with stand_in.raises(ValueError, match="no"):
            raise ValueError("no")

    def test_fail() -> None:
        with stand_in.raises(ValueError):
            pass

    found = {"passed": 0, "failed": 0, "skipped": 0}
    runner.run_test(test_pass, None, found)
    runner.run_test(test_fail, None, found)
    runner.run_test(stand_in.mark.skipif(True, reason="so")(test_fail), None, found)
    runner.run_test(test_pass, "the module's", found)
    assert sorted(calls) == [(1, 3, 4), (1, 5, 6), (2, 3, 4), (2, 5, 6)]
    assert found == {"passed": 4, "failed": 1, "skipped": 5}
    assert "ValueError was not raised" in capsys.readouterr().out
