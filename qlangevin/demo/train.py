"""``python -m qlangevin train``: arguments, the report and the exit code."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from qlangevin.arguments import parse_count, parse_file, parse_integer, parse_picture
from qlangevin.demo import report
from qlangevin.demo.checkpoint import CheckpointError
from qlangevin.demo.compare import compare_studies
from qlangevin.demo.data import DataError
from qlangevin.demo.loop import RunResult
from qlangevin.demo.picture import Curves, draw_curves
from qlangevin.demo.studies import KINDS, RUNS, Study, choose_studies

__all__ = ["CheckpointError", "DataError", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's arguments to `parser`; wrong values are argparse errors."""
    add = parser.add_argument
    add("--tasks", nargs="+", choices=KINDS, default=KINDS, metavar="TASK", help=f"of {', '.join(KINDS)} (default both)")
    names = [entry.name for entry in RUNS]
    add("--runs", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}")
    add("--seed", type=_parse_seed, default=0, metavar="N", help="of weights, mini-batches and noise (default 0)")
    add("--checkpoint", type=parse_file, metavar="FILE", help="save here after each epoch, resume from here")
    out = Path("demo.png")
    add("--out", type=parse_picture, default=out, metavar="FILE", help="curves (default demo.png)")
    add("--json", type=parse_file, metavar="FILE", help="write the results here too")
    add("--no-floors", action="store_true", help="do not fail when a score is too low")
    images = parser.add_argument_group("images").add_argument
    folder = "folder of Fashion-MNIST (IDX) or CIFAR-10 (binary) files"
    images("--data-dir", type=Path, metavar="DIR", help=folder)
    images("--epochs", type=parse_count, metavar="N", help="passes over the images (default: by data set)")
    images("--batch-size", type=_parse_batch_size, default=64, metavar="N", help="images per step (default 64)")
    images("--limit", type=parse_count, metavar="N", help="use only the first N training images")
    text = parser.add_argument_group("text").add_argument
    text("--text", type=Path, metavar="FILE", help="UTF-8 text, its first 16 MiB (default: Python's standard library)")
    text("--text-steps", type=parse_count, default=500, metavar="N", help="of each run (default 500)")
    text("--text-seeds", type=parse_count, default=3, metavar="N", help="seeds of each run (default 3)")


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Returns:
        the exit code: 0; 1 where a floor failed; 2 where the data, the checkpoint or a package is unusable.
    """
    missing = [name for name in ("tqdm", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"error: missing {' and '.join(missing)}: pip install 'qlangevin[demo]'", file=sys.stderr)
        return 2
    threads = torch.get_num_threads()
    # One thread is enough for so small networks, sums in one order however many cores there are, and stays
    # fast when a core is shared: OpenMP's spinning barriers made a step 40 times slower beside a busy job.
    torch.set_num_threads(1)
    try:
        return _run_demo(args)
    except (DataError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)


def _run_demo(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    studies = choose_studies(args)
    print("\n".join(study.describe() for study in studies), flush=True)
    compared = list(zip(studies, compare_studies(studies, args.checkpoint), strict=True))
    for study, results in compared:
        print(f"\n{study.task.name}\n{report.format_table(study.task.score, results)}")
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    rows = [Curves(study.task.name, study.task.score, study.settings.batches, results) for study, results in compared]
    draw_curves(rows, args.out)
    print(f"curves: {args.out}")
    if args.json is not None:
        report.write_json(args.json, {study.kind: _to_json(study, results) for study, results in compared})
    if args.no_floors:
        return 0
    checks = [report.check_floors(study.task.name, study.task.score, results) for study, results in compared]
    print("\n".join(line for lines, _ in checks for line in lines))
    return 0 if all(passed for _, passed in checks) else 1


def _to_json(study: Study, results: Sequence[RunResult]) -> dict[str, object]:
    return {"config": study.config(), "runs": [report.result_to_json(study.task.score, result) for result in results]}


def _parse_batch_size(text: str) -> int:
    return parse_integer(text, 2)  # batch norm has no variance of one image


def _parse_seed(text: str) -> int:
    return parse_integer(text, 0)
