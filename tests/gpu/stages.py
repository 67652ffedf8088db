"""The stages of `tests.gpu.run`: which commands, for how long at most, and what their outcome means."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .commands import Command, Outcome

PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"
PYTHON = sys.executable
TOOLS = ("memcheck", "racecheck", "initcheck")
UNSUPPORTED = re.compile(r"(device|driver|GPU|tool)[^\n]*(not|un)[ -]?supported|insufficient (driver|permission|privilege)", re.I)
Verdict = tuple[str, str]


@dataclass(frozen=True)
class Device:
    """What is tested. arch: of the compute capability, such as 90; none for the host's double."""

    name: str
    arch: str | None

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    device: Device
    out: Path
    small: bool


@dataclass(frozen=True)
class Stage:
    """Commands that run side by side. seconds: how long at most. judge: the verdict from their outcomes."""

    name: str
    commands: list[Command]
    seconds: float
    judge: Callable[[Sequence[Outcome]], Verdict]
    otherwise: Callable[[], list[Command]] | None = field(default=None)  # where the first ones fail


def judge_exits(outcomes: Sequence[Outcome]) -> Verdict:
    """Passed if every command has."""
    bad = [f"{outcome.command.name}: {outcome.describe()}" for outcome in outcomes if outcome.status != 0]
    return (FAILED, "; ".join(bad)) if bad else (PASSED, "")


def judge_tests(outcomes: Sequence[Outcome]) -> Verdict:
    """The sums of what the runs tell; a run without a test that passed has failed."""
    sums = dict.fromkeys(("passed", "failed", "errors", "skipped"), 0)
    bad = []
    for outcome in outcomes:
        told = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|errors?|skipped)", outcome.last_line())}
        for name, count in told.items():
            sums[name if name in sums else "errors"] += count
        if outcome.status != 0 or not told.get("passed"):
            bad.append(f"{outcome.command.name}: {outcome.describe()}")
    counts = ", ".join(f"{count:,} {name}" for name, count in sums.items() if count) or "nothing ran"
    return (FAILED, f"{counts} ({'; '.join(bad)})") if bad else (PASSED, counts)


def count_reports(text: str) -> tuple[int, int]:
    """Reports of compute-sanitizer about our kernels, or about none that it can name; and about those of others."""
    ours = others = 0
    for report in re.split(r"^=+ *\n", text, flags=re.MULTILINE):
        if not re.search(
            r"={9} (Invalid|Uninitialized|Misaligned|Error|Race|Potential|Warning|Address|Program hit|Barrier)", report
        ):
            continue
        if "Program hit" in report:  # a call of the runtime, which torch too makes to see what it says
            ours, others = ours + ("_native" in report), others + ("_native" not in report)
            continue
        named = re.search(r"^=+ +at (.*)$", report, flags=re.MULTILINE) or re.search(r"kernel (\S+)", report)
        foreign = named is not None and re.search(r"at::|cub::|cublas|cutlass|c10::|native::", named[1]) and "ql::" not in report
        ours, others = ours + (not foreign), others + bool(foreign)
    return ours, others


def judge_sanitizer(outcomes: Sequence[Outcome]) -> Verdict:
    """Reports about our kernels are failures; those about torch's are counted."""
    told, statuses = [], set()
    for outcome in outcomes:
        ours, others = count_reports(outcome.text)
        ran = "kernel steps equal" in outcome.text
        if not ran and UNSUPPORTED.search(outcome.text):
            status, what = SKIPPED, "not supported on this device"
        elif ours or not ran:
            status, what = FAILED, f"{ours} reports" if ours else outcome.describe()
        else:
            status, what = PASSED, "clean" + (f" ({others} reports about kernels of others)" if others else "")
        statuses.add(status)
        told.append(f"{outcome.command.name} {what}")
    worst = next((status for status in (FAILED, PASSED, SKIPPED) if status in statuses), SKIPPED)
    return worst, "; ".join(told) or "compute-sanitizer is not installed"


def judge_benchmark(outcomes: Sequence[Outcome]) -> Verdict:
    """Passed if it ran to its end; goals are figures, not tests."""
    status, text = judge_exits(outcomes)
    return status, text or outcomes[0].last_line()


def build_commands(options: Options) -> list[Command]:
    """The package into this environment, for this device alone."""
    return [Command("pip", [PYTHON, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "-e", "."], build_env(options))]


def build_env(options: Options) -> dict[str, str]:
    """The tools of this Python and nvcc in the path, and the architecture of this device only."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
    return {
        "QLANGEVIN_CUDA": "ON",
        "QLANGEVIN_CUDA_ARCHS": str(options.device.arch),
        "QLANGEVIN_CMAKE_ARGS": "-DQLANGEVIN_TEST_PATHS=OFF",
        "QLANGEVIN_BUILD_DIR": os.environ.get("QLANGEVIN_BUILD_DIR", "build/gpu"),
        "PATH": os.pathsep.join([str(Path(PYTHON).parent), os.environ.get("PATH", ""), str(toolkit)]),
    }


def build_in_place(options: Options) -> list[Command]:
    """Where the environment cannot be written to: the module beside the sources."""
    return [Command("in place", [PYTHON, "setup.py", "build_ext", "--inplace"], build_env(options))]


def run_tests(name: str, *paths: str, **env: str) -> Command:
    """Test files in a process of their own."""
    return Command(name, [PYTHON, "-m", "tests.gpu.runner", *paths], env)


def share_tests(name: str, path: str, **env: str) -> list[Command]:
    """A test file in as many processes as there are cores for."""
    shards = max(1, min(8, (os.cpu_count() or 1) // 2 - 1))
    return [run_tests(f"{name} {i + 1}/{shards}", path, QLANGEVIN_GPU_SHARD=f"{i}/{shards}", **env) for i in range(shards)]


def parity_commands() -> list[Command]:
    """Kernels, and the CPU paths of this machine."""
    paths = ["tests/core/test_parity.py", "tests/core/test_statistics.py"]
    return [*share_tests("kernels", "tests/gpu/test_gpu_kernels.py"), run_tests("CPU paths", *paths)]


def contract_commands(small: bool, backend: str) -> list[Command]:
    """What holds through the optimizers; small tests are done before several processes have begun."""
    names = ("optimizers", "graphs", "streams", "memory" if backend == "native" else backend)
    paths = {name: f"tests/gpu/test_gpu_{name}.py" for name in names}
    if small:
        return [run_tests("all", *paths.values(), QLANGEVIN_GPU_BACKEND=backend)]
    shared = share_tests("triton", paths.pop("triton"), QLANGEVIN_GPU_BACKEND=backend) if backend == "triton" else []
    return [*(run_tests(name, path, QLANGEVIN_GPU_BACKEND=backend) for name, path in paths.items()), *shared]


def sanitizer_commands() -> list[Command]:
    """The small script under each tool; without torch's caching allocator, so that each tensor ends where it ends."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
    found = shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), str(toolkit)]))
    if found is None:
        return []
    script = [PYTHON, "-m", "tests.gpu.sanitized"]
    bare = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "QLANGEVIN_GPU_SANITIZED": "1"}
    envs = {"racecheck": {"QLANGEVIN_GPU_SANITIZED": "1"}}  # with graphs, which need the allocator
    return [Command(tool, [found, "--tool", tool, "--print-limit", "50", *script], envs.get(tool, bare)) for tool in TOOLS]


def list_stages(options: Options) -> list[Stage]:
    """All stages in their order."""
    small = ["--small"] if options.small else []
    out = ["--out", str(options.out)]
    benchmark = Command("benchmark", [PYTHON, "-m", "benchmarks.gpu", "--seconds", "200", *out, *small], {})
    results = Command("results", [PYTHON, "-m", "benchmarks.gpu.results", *out], {})
    return [
        Stage("build", build_commands(options), 200, judge_exits, lambda: build_in_place(options)),
        Stage("parity", parity_commands(), 120, judge_tests),
        Stage("contract", contract_commands(options.small, "native"), 100, judge_tests),
        Stage("triton", contract_commands(options.small, "triton"), 120, judge_tests),
        Stage("sanitizer", sanitizer_commands(), 120, judge_sanitizer),
        Stage("benchmark", [benchmark], 230, judge_benchmark),
        Stage("results", [results], 60, judge_exits),
    ]
