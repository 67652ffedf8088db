"""``python -m qlangevin bench``: arguments, the comparison, its report and its exit code."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

import torch

from ..arguments import parse_count, parse_file, parse_picture
from ..backends.native import check_cpu_path
from ..errors import QlangevinError
from .admission import LeftOut, admit, describe_error
from .cases import CASES, Case
from .machine import describe_machine
from .measure import Settings, measure_list
from .picture import draw
from .report import LEGEND, Report, format_list, format_machine, format_omissions, write_json
from .shapes import LISTS

DEVICES = ("cpu", "cuda")


class BenchError(QlangevinError, ValueError):
    """What was asked for does not exist or is not here; nothing has been timed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`; wrong values are argparse errors."""
    add = parser.add_argument
    names = list(LISTS)
    add("--lists", nargs="+", choices=names, default=names, metavar="LIST", help=f"of {', '.join(names)} (default all)")
    add("--cases", nargs="+", metavar="WORD", help="only cases whose name holds one of these words")
    add("--rounds", type=parse_count, metavar="N", help="of each list (default 15; down to 5 where that takes over 20 s)")
    add("--threads", type=parse_count, metavar="N", help="of torch and of the kernels (default torch's)")
    add("--device", choices=DEVICES, default="cpu", help="default cpu")
    add("--json", type=parse_file, metavar="FILE", help="write all figures here, with the machine and the versions")
    add("--plot", type=parse_picture, metavar="FILE", help="draw them here: .png, .svg or .pdf")


def run(args: argparse.Namespace) -> int:
    """Run the comparison.

    Returns:
        the exit code: 0; 1 where a self-test or a step failed or nothing could be timed; 130 where it was interrupted.

    Raises:
        BenchError: an unknown case, no such device, a missing package.
        BackendError: an unknown QLANGEVIN_CPU.
    """
    cases = choose_cases(args.cases)
    check_device(args.device)
    check_cpu_path()
    if args.plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise BenchError("--plot needs matplotlib: pip install 'qlangevin[demo]'")
    threads = torch.get_num_threads()
    torch.set_num_threads(args.threads or threads)
    try:
        return _run_lists(args, cases)
    finally:
        torch.set_num_threads(threads)


def choose_cases(words: Sequence[str] | None) -> list[Case]:
    """The cases whose names hold one of the words, all for None.

    Raises:
        BenchError: a word that no name holds; lists the names.
    """
    for word in words or ():
        if not any(word.lower() in case.name.lower() for case in CASES):
            names = "\n".join(f"  {case.name}" for case in CASES)
            raise BenchError(f"--cases {word!r} is in no case's name; there are\n{names}")
    return [case for case in CASES if words is None or any(word.lower() in case.name.lower() for word in words)]


def check_device(name: str) -> None:
    """Refuses a device that is not here.

    Raises:
        BenchError: naming those that are.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BenchError("--device cuda: torch finds no CUDA device; valid here: cpu")


def _run_lists(args: argparse.Namespace, cases: Sequence[Case]) -> int:
    settings = Settings(device=torch.device(args.device), rounds=args.rounds)
    report = Report(describe_machine(settings.device))
    print(format_machine(report.machine), flush=True)
    status = 130
    try:
        status = _measure(args, cases, settings, report)
    except KeyboardInterrupt:
        done = ", ".join(result.tensors.name for result in report.lists) or "none"
        print(f"\ninterrupted; finished lists: {done}", file=sys.stderr)
    if report.lists:
        print(f"\n{LEGEND}")
    _save(args, report)
    if args.plot is not None and any(result.figures for result in report.lists):
        draw(report, args.plot)
        print(f"picture: {args.plot}")
    return status


def _measure(args: argparse.Namespace, cases: Sequence[Case], settings: Settings, report: Report) -> int:
    admission = admit(cases, settings.device)
    report.left_out += admission.left_out
    if report.left_out:
        print("\n".join(format_omissions(report.left_out, [])), flush=True)
    for name in dict.fromkeys(args.lists):
        _show_progress(f"timing {name} ...")
        try:
            result = measure_list(LISTS[name], admission.cases, settings)
        except Exception as error:  # the other lists may still be measured: memory that others took, a broken step
            report.failed.append(LeftOut(f"list {name}", describe_error(error)))
            print("\n" + "\n".join(format_omissions([], report.failed[-1:])), flush=True)
            continue
        _show_progress("")
        report.lists.append(result)
        _save(args, report)  # first: the reader of a pipe may be gone
        print("\n" + format_list(result), flush=True)
    report.complete = True
    timed = any(result.figures for result in report.lists)
    failed = admission.red or report.failed or any(result.failed for result in report.lists)
    return int(bool(failed) or not timed)


def _save(args: argparse.Namespace, report: Report) -> None:
    if args.json is None:
        return
    try:
        write_json(args.json, report)
    except OSError as error:  # a full disk does not take the tables away
        print(f"error: {args.json} could not be written: {error}", file=sys.stderr)


def _show_progress(text: str) -> None:
    if sys.stderr.isatty():  # a line that the next one replaces
        print(f"\r{text:<40}\r", end="", file=sys.stderr, flush=True)
