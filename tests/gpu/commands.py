"""Commands that run side by side within a time limit, each as a process group of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Logs are kept with the results: where a machine has its folders is nobody's business.
FOREIGN = re.compile(r"(?<![\w.$}])/(?:work|tmp|home|root|Users|mnt|data|opt)(?:/[^\s:'\",;()<>]*)?(?![\w])")


def without_paths(text: str) -> str:
    """The text without the folders of this machine."""
    return FOREIGN.sub("<folder>", text.replace(sys.prefix, "<python>").replace(str(ROOT), "<root>"))


@dataclass(frozen=True)
class Command:
    """What to run, and what its environment has besides this process's."""

    name: str
    words: list[str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a command ended. status: None where it ran out of time."""

    command: Command
    status: int | None
    text: str
    seconds: float

    def last_line(self) -> str:
        """The last line that says something."""
        lines = [line.strip(" =") for line in self.text.splitlines() if line.strip(" =")]
        return lines[-1] if lines else ""

    def describe(self) -> str:
        """How it ended, in words."""
        if self.status is None:
            return f"out of time after {self.seconds:.0f} s"
        return f"exit status {self.status}, {self.last_line()[:160]}"


def run_all(commands: Sequence[Command], seconds: float) -> list[Outcome]:
    """Runs commands side by side; those that are not done after `seconds` are ended."""
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        running = [
            subprocess.Popen(
                command.words,
                cwd=ROOT,
                env={**os.environ, **command.env},
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            for command, file in zip(commands, files, strict=True)
        ]
        took: dict[int, float] = {}
        try:
            while len(took) < len(running) and time.monotonic() - start < seconds:
                for i, process in enumerate(running):
                    if i not in took and process.poll() is not None:
                        took[i] = time.monotonic() - start
                time.sleep(0.05)
        finally:
            for process in running:
                end(process)
        outcomes = []
        for i, (command, file) in enumerate(zip(commands, files, strict=True)):
            file.seek(0)
            text = without_paths(file.read().decode(errors="replace"))
            outcomes.append(Outcome(command, running[i].returncode if i in took else None, text, took.get(i, seconds)))
        return outcomes


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and those that it started, if it still runs."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
