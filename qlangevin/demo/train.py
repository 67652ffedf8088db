"""``python -m qlangevin train``: arguments, the comparison, its report and its exit code."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from qlangevin.arguments import parse_count, parse_file, parse_integer, parse_picture
from qlangevin.demo import report
from qlangevin.demo.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from qlangevin.demo.data import CIFAR10, DIGITS, FASHION_MNIST, DataError, ImageData, load_images
from qlangevin.demo.loop import (
    LiveRun,
    RunResult,
    capture_run,
    restore_run_,
    start_run,
    train_epoch_,
)
from qlangevin.demo.runs import RUNS, Run, Settings

__all__ = ["RUNS", "CheckpointError", "DataError", "add_arguments", "compare_runs", "run"]

_EPOCHS = {FASHION_MNIST: 2, CIFAR10: 3, DIGITS: 20}
# Small on purpose, so that there are updates for bf16 to lose: on Fashion-MNIST SGD on bf16 weights ends 1.1
# points below fp32 at 0.005, 0.7 points at 0.01, and level with it at 0.05.
_LR = 0.005
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
# In units of 1/N, the posterior of a mean loss over N images; at 1 so short a chain ends 1.5 points lower.
_TEMPERATURE = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's arguments to `parser`; wrong values are argparse errors."""
    add = parser.add_argument
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of Fashion-MNIST (IDX) or CIFAR-10 (binary) files",
    )
    add("--epochs", type=parse_count, metavar="N", help="passes over the images (default: by data set)")
    add("--batch-size", type=_parse_batch_size, default=64, metavar="N", help="images per step (default 64)")
    add("--limit", type=parse_count, metavar="N", help="use only the first N training images")
    add(
        "--seed",
        type=_parse_seed,
        default=0,
        metavar="N",
        help="of weights, image order and noise (default 0)",
    )
    add("--checkpoint", type=parse_file, metavar="FILE", help="save here after each epoch, resume from here")
    add(
        "--out",
        type=parse_picture,
        default=Path("demo.png"),
        metavar="FILE",
        help="curves (default demo.png)",
    )
    add("--json", type=parse_file, metavar="FILE", help="write the results here too")
    add("--no-floors", action="store_true", help="do not fail when an accuracy is too low")
    names = [entry.name for entry in RUNS]
    add("--runs", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}")


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
    # One thread is enough for so small a network, sums in one order however many cores there are, and stays
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
    data = load_images(args.data_dir, args.limit)
    settings = choose_settings(args, data)
    if settings.batches < 1:
        raise DataError(f"{len(data.train_labels)} training images are less than one batch of {settings.batch_size}")
    runs = [entry for entry in RUNS if entry.name in args.runs]
    shape = " x ".join(str(extent) for extent in data.train_images.shape[1:])
    print(f"{data.name}: {len(data.train_labels)} training and {len(data.test_labels)} test images of {shape}")
    print(
        f"{settings.epochs} epochs of {settings.batches} steps, batch {settings.batch_size}, "
        f"lr up to {settings.lr} and down to 0, momentum {settings.momentum}, "
        f"weight decay {settings.weight_decay}, temperature of the warm run {settings.temperature:.2g}",
        flush=True,
    )
    results = compare_runs(runs, data, settings, args.checkpoint)
    print(report.format_table(results))
    print(f"{time.perf_counter() - start:.0f} s in all")
    report.draw_curves(results, data.name, settings.batches, args.out)
    print(f"curves: {args.out}")
    if args.json is not None:
        report.write_json(args.json, results, describe_config(runs, data, settings))
    if args.no_floors:
        return 0
    lines, passed = report.check_floors(data.name, results)
    print("\n".join(lines))
    return 0 if passed else 1


def choose_settings(args: argparse.Namespace, data: ImageData) -> Settings:
    """Return the hyper-parameters of the comparison for this data set."""
    return Settings(
        epochs=args.epochs if args.epochs is not None else _EPOCHS[data.name],
        batch_size=args.batch_size,
        batches=len(data.train_labels) // args.batch_size,
        seed=args.seed,
        lr=_LR,
        momentum=_MOMENTUM,
        weight_decay=_WEIGHT_DECAY,
        temperature=_TEMPERATURE / len(data.train_labels),
    )


def describe_config(runs: Sequence[Run], data: ImageData, settings: Settings) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to be resumed: plain values only."""
    names = [entry.name for entry in runs]
    return {"data": data.name, "data_digest": data.digest(), "runs": names, **asdict(settings)}


def compare_runs(runs: Sequence[Run], data: ImageData, settings: Settings, checkpoint_path: Path | None) -> list[RunResult]:
    """Train every run from the same initial weights over the same mini-batches, resuming from a checkpoint.

    Raises:
        CheckpointError: the checkpoint is unusable; nothing has been overwritten.
    """
    config = describe_config(runs, data, settings)
    position = Checkpoint(config) if checkpoint_path is None else load_checkpoint(checkpoint_path, config)
    results, live = _resume(checkpoint_path, position, runs, data, settings)
    done = settings.epochs * len(results) + (live.epoch if live else 0)
    with _open_bar(settings.batches, done, settings.epochs * len(runs)) as bar:

        def advance(loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update()

        for entry in runs[len(results) :]:
            live = live or start_run(entry, data, settings)
            bar.set_description_str(entry.name, refresh=False)
            for _ in range(live.epoch, settings.epochs):
                train_epoch_(live, data, settings, advance)
                if checkpoint_path is not None:
                    position.live = capture_run(live)
                    save_checkpoint(checkpoint_path, position)
            results.append(live.result)
            position.finished.append(asdict(live.result))
            live = None
    return results


def _resume(
    path: Path | None, position: Checkpoint, runs: Sequence[Run], data: ImageData, settings: Settings
) -> tuple[list[RunResult], LiveRun | None]:
    if position.live is None:
        return [], None
    try:
        results = [RunResult(**finished) for finished in position.finished]
        live = start_run(runs[len(results)], data, settings)
        restore_run_(live, position.live)
    except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        cause = str(error).strip().split("\n")[0]
        raise CheckpointError(f"checkpoint {path} does not fit its run: {type(error).__name__}: {cause}") from error
    print(f"resumed from {path}: {live.run.name} after epoch {live.epoch} of {settings.epochs}", flush=True)
    return results, live


def _open_bar(steps: int, done_epochs: int, epochs: int) -> Any:
    from tqdm import tqdm  # noqa: PLC0415  an extra: imported only where it is used

    interval = 0.2 if sys.stderr.isatty() else 30.0  # a log file gets a line now and then
    # tqdm's monitor would shorten any interval above maxinterval.
    times = {"mininterval": interval, "maxinterval": max(10.0, interval)}
    return tqdm(total=steps * epochs, initial=steps * done_epochs, unit="step", **times)


def _parse_batch_size(text: str) -> int:
    return parse_integer(text, 2)  # batch norm has no variance of one image


def _parse_seed(text: str) -> int:
    return parse_integer(text, 0)
