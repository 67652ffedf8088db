"""What the demo runs: each task with its settings, its runs and its seeds. A new model or data set is one function here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from qlangevin.demo.data import DataError
from qlangevin.demo.images import CIFAR10, DIGITS, FASHION_MNIST, load_images
from qlangevin.demo.runs import IMAGE_RUNS, TEXT_RUNS, Run, Settings
from qlangevin.demo.tasks import ImageTask, Task, TextTask
from qlangevin.demo.text import load_text

_IMAGE_EPOCHS = {FASHION_MNIST: 2, CIFAR10: 3, DIGITS: 20}
# Small on purpose, so that there are updates for bf16 to lose: on Fashion-MNIST SGD on bf16 weights ends 1.1
# points below fp32 at 0.005, 0.7 points at 0.01, and level with it at 0.05.
_IMAGE_LR = 0.005
_IMAGE_MOMENTUM = 0.9
_IMAGE_WEIGHT_DECAY = 5e-4
# In units of 1/N, the posterior of a mean loss over N images; at 1 so short a chain ends 1.5 points lower.
_IMAGE_TEMPERATURE = 0.1

_TEXT_EPOCHS = 5
_TEXT_BATCH = 16
# torch's defaults for AdamW, and the weight decay that GPTs are trained with.
_TEXT_LR = 1e-3
_TEXT_BETAS = (0.9, 0.999)
_TEXT_WEIGHT_DECAY = 0.1


@dataclass(frozen=True)
class Study:
    """One comparison.

    Args:
        kind: "images" or "text": for the command line and the checkpoint.
        task: model and data.
        settings: of the first seed.
        runs: each is taken with every seed.
        seeds: how many, from that of the settings on.
    """

    kind: str
    task: Task
    settings: Settings
    runs: Sequence[Run]
    seeds: int = 1

    def turns(self) -> list[tuple[Run, Settings]]:
        """Return the runs in the order in which they are made: all of a seed, then those of the next."""
        seeds = range(self.settings.seed, self.settings.seed + self.seeds)
        return [(run, replace(self.settings, seed=seed)) for seed in seeds for run in self.runs]

    def config(self) -> dict[str, Any]:
        """Return what must be equal for a checkpoint to be resumed: plain values only."""
        names = [run.name for run in self.runs]
        data = {"data": self.task.name, "data_digest": self.task.digest()}
        return {**data, "runs": names, "seeds": self.seeds, **asdict(self.settings)}

    def describe(self) -> str:
        """Return two lines: the data; epochs and hyper-parameters."""
        own, seeds = self.settings, "" if self.seeds == 1 else f", {self.seeds} seeds"
        warm = f", temperature of the warm run {own.temperature:.2g}" if own.temperature else ""
        return (
            f"{self.task.name}: {self.task.describe()}\n"
            f"{own.epochs} epochs of {own.batches} steps, batch {own.batch_size}, "
            f"lr up to {own.lr} and down to 0, momentum {own.momentum}, weight decay {own.weight_decay}{warm}{seeds}"
        )


def study_images(args: argparse.Namespace, runs: Sequence[Run]) -> Study:
    """Return the comparison on images.

    Raises:
        DataError: they cannot be read, or are less than one batch.
    """
    data = load_images(args.data_dir, args.limit)
    count = len(data.train_labels)
    if count < args.batch_size:
        raise DataError(f"{count} training images are less than one batch of {args.batch_size}")
    settings = Settings(
        epochs=args.epochs if args.epochs is not None else _IMAGE_EPOCHS[data.name],
        batch_size=args.batch_size,
        batches=count // args.batch_size,
        seed=args.seed,
        lr=_IMAGE_LR,
        momentum=_IMAGE_MOMENTUM,
        weight_decay=_IMAGE_WEIGHT_DECAY,
        temperature=_IMAGE_TEMPERATURE / count,
    )
    return Study("images", ImageTask(data), settings, runs)


def study_text(args: argparse.Namespace, runs: Sequence[Run]) -> Study:
    """Return the comparison on text.

    Raises:
        DataError: it cannot be read, is too short or no text.
    """
    epochs = min(_TEXT_EPOCHS, args.text_steps)
    settings = Settings(
        epochs=epochs,
        batch_size=_TEXT_BATCH,
        batches=args.text_steps // epochs,
        seed=args.seed,
        lr=_TEXT_LR,
        momentum=_TEXT_BETAS[0],
        weight_decay=_TEXT_WEIGHT_DECAY,
        square_momentum=_TEXT_BETAS[1],
    )
    return Study("text", TextTask(load_text(args.text)), settings, runs, args.text_seeds)


_KINDS: Mapping[str, tuple[Callable[[argparse.Namespace, Sequence[Run]], Study], Sequence[Run]]] = {
    "images": (study_images, IMAGE_RUNS),
    "text": (study_text, TEXT_RUNS),
}
KINDS = tuple(_KINDS)
RUNS = (*IMAGE_RUNS, *TEXT_RUNS)


def choose_studies(args: argparse.Namespace) -> list[Study]:
    """Return the comparisons that hold a run that was asked for, all data loaded.

    Raises:
        DataError: data that cannot be used; or no run is left.
    """
    studies = []
    for kind, (study, table) in _KINDS.items():
        runs = [run for run in table if run.name in args.runs]
        if runs and kind in args.tasks:
            studies.append(study(args, runs))
    if not studies:
        raise DataError(f"--tasks {' '.join(args.tasks)} has none of --runs {' '.join(args.runs)}")
    return studies
