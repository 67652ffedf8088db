"""What the figures were measured on: a figure without its origin is none."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..backends.native import cpu_path, explain_cpu_paths
from ..state import NUMERICS_VERSION


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Machine, versions and commit, as plain values."""
    return {
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_path": chosen_path(),
        "load": os.getloadavg()[0],  # 1.0 or more before the first step: something else is running
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "driver": find_driver() if device.type == "cuda" else None,
        "python": platform.python_version(),
        "qlangevin": __version__,
        "numerics_version": NUMERICS_VERSION,
        "commit": find_commit(Path(__file__).resolve().parent) or os.environ.get("QLANGEVIN_COMMIT"),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def ask_driver(question: str) -> str | None:
    """What nvidia-smi tells of the first GPU by one of its --query-gpu names; None if it does not."""
    command = ["nvidia-smi", f"--query-gpu={question}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if lines else None


def find_driver() -> str | None:
    """The version of the GPUs' driver; None if it is not told."""
    if (told := ask_driver("driver_version")) is not None:
        return told
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split()
    except OSError:
        return None
    return next((word for word in words if word.count(".") >= 1 and word.replace(".", "").isdigit()), None)


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def chosen_path() -> str:
    """The instruction set of the native kernels: QLANGEVIN_CPU, or what "auto" takes; "none" without the native module."""
    usable = [path for path, why in explain_cpu_paths().items() if not why]
    if not usable:
        return "none"
    return usable[0] if cpu_path() == "auto" else cpu_path()


def find_commit(folder: Path) -> str | None:
    """The commit of a git checkout that holds this package, with "+changes" where files differ from it; else None."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    # An environment may lie inside someone else's checkout: its commit says nothing about this package.
    if git("ls-files", "--error-unmatch", "machine.py") is None:
        return None
    commit = git("rev-parse", "--short", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit


class OtherWork:
    """Counts the cores that other processes, or a virtual machine's host, use meanwhile."""

    def __init__(self) -> None:
        self.start, self.used = time.perf_counter(), self.read()

    @staticmethod
    def read() -> float | None:
        """Processor seconds that were not idle and not this process's, since some moment; None where they are not told."""
        try:
            fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        except (OSError, IndexError):
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - time.process_time()

    def cores(self) -> float | None:
        """Cores used by others on average since this was made; None where that is not told."""
        used = self.read()
        if used is None or self.used is None:
            return None
        return max(0.0, used - self.used) / (time.perf_counter() - self.start)
