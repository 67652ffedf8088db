"""Builds for the present GPU, tests, measures, and writes benchmarks/results/<device>/; ends with a verdict of a line a stage.

Usage: python -m tests.gpu.run [--out FOLDER] [--stages STAGE ...] [--minutes N] [--small]

No network is needed. A stage that fails does not stop the others; the exit status is 1 if one did. QLANGEVIN_GPU_ON_HOST=1 runs
the CUDA plans' source on the host in place of a GPU: nothing is built then, and streams and graphs are left out. QLANGEVIN_COMMIT
names the commit where there is no git.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .commands import ROOT, Outcome, run_all, without_paths
from .stages import FAILED, SKIPPED, Device, Options, Stage, Verdict, list_stages

STAGES = ("build", "parity", "contract", "triton", "sanitizer", "benchmark", "results")
KEPT = 12.0  # seconds that are kept for the results
ASK = """
import json, torch
found = torch.cuda.is_available()
print(json.dumps({
    "name": torch.cuda.get_device_name(0) if found else None,
    "capability": torch.cuda.get_device_capability(0) if found else None,
    "torch": torch.__version__,
}))
"""


@dataclass(frozen=True)
class Line:
    """A stage's line of the verdict."""

    stage: str
    status: str
    text: str
    seconds: float

    def format(self) -> str:
        """As it is printed."""
        return f"{self.stage:<10} {self.status:<8} {self.seconds:4.0f} s  {self.text}".rstrip()


def find_device() -> Device | None:
    """The first GPU, asked in another process so that this one holds none of its memory; None if there is none."""
    if os.environ.get("QLANGEVIN_GPU_ON_HOST") == "1":
        return Device("host double", None)
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 and done.stdout else {}
    if not found.get("name"):
        print(f"torch finds no CUDA device {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return Device(found["name"], "{}{}".format(*found["capability"]))


def name_commit() -> str:
    """The commit, before this run writes any file."""

    def git(*words: str) -> str:
        try:
            return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    commit = git("rev-parse", "--short", "HEAD")
    return commit and commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def write_outcomes(log: TextIO, outcomes: Sequence[Outcome]) -> None:
    """What the commands printed."""
    for outcome in outcomes:
        env = " ".join(f"{key}={value}" for key, value in outcome.command.env.items() if key != "PATH")
        words = " ".join(Path(word).name if word == sys.executable else word for word in outcome.command.words)
        log.write(without_paths(f"\n--- {outcome.command.name}: {env} {words}\n{outcome.text}"))
        log.write(f"--- {outcome.command.name}: status {outcome.status}, {outcome.seconds:.1f} s\n")
    log.flush()


def run_stage(stage: Stage, seconds: float, log: TextIO) -> Line:
    """Runs one stage within so many seconds."""
    start = time.monotonic()
    log.write(f"\n=== {stage.name}\n")
    if seconds < 1:
        return Line(stage.name, FAILED, "no time was left", 0.0)
    outcomes = run_all(stage.commands, min(seconds, stage.seconds))
    write_outcomes(log, outcomes)
    if stage.otherwise is not None and any(outcome.status for outcome in outcomes):
        outcomes = run_all(stage.otherwise(), seconds - (time.monotonic() - start))
        write_outcomes(log, outcomes)
    verdict: Verdict = stage.judge(outcomes)
    line = Line(stage.name, *verdict, time.monotonic() - start)
    log.write(line.format() + "\n")
    return line


def write_verdict(options: Options, lines: Sequence[Line]) -> None:
    """The verdict so far, for the stage of the results."""
    facts = {line.stage: {"status": line.status, "text": line.text, "seconds": round(line.seconds, 1)} for line in lines}
    (options.out / "verdict.json").write_text(json.dumps(facts, indent=1) + "\n")


def run_stages(options: Options, chosen: Sequence[str], seconds: float) -> list[Line]:
    """Runs the chosen stages one after another, whatever each gives."""
    end = time.monotonic() + seconds
    lines: list[Line] = []
    with (options.out / "log.txt").open("w") as log:
        log.write(f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {options.device.name}\n")
        for stage in list_stages(options):
            if stage.name not in chosen:
                continue
            left = end - time.monotonic() - (0 if stage.name == "results" else KEPT)
            if stage.name == "build" and options.device.arch is None:
                line = Line("build", SKIPPED, "the host's double is built by `make test`", 0.0)
            else:
                print(f"{stage.name} ...", flush=True)
                line = run_stage(stage, left, log)
            lines.append(line)
            write_verdict(options, lines)
        log.write("\n=== verdict\n" + "\n".join(line.format() for line in lines) + "\n")
    return lines


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="default benchmarks/results/<device>")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="default all")
    parser.add_argument("--minutes", type=float, default=9.7, help="for all stages together (default 9.7)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to test the tests")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the stages and prints the verdict; the exit status."""
    args = parse(arguments)
    device = find_device()
    if device is None:
        return 1
    out = (args.out or ROOT / "benchmarks" / "results" / device.slug).resolve()
    out.mkdir(parents=True, exist_ok=True)
    small = args.small or os.environ.get("QLANGEVIN_GPU_SMALL") == "1"
    os.environ.setdefault("QLANGEVIN_COMMIT", name_commit())
    os.environ["QLANGEVIN_GPU_REQUIRED"] = "1"
    os.environ["QLANGEVIN_GPU_SMALL"] = str(int(small))
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    lines = run_stages(Options(device, out, small), args.stages, 60 * args.minutes)
    print(f"\n{device.name}; log and figures: {out.relative_to(ROOT) if out.is_relative_to(ROOT) else out}")
    print("\n".join(line.format() for line in lines))
    failed = [line.stage for line in lines if line.status == FAILED]
    print(f"verdict: {'FAILED: ' + ', '.join(failed) if failed else 'passed'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
