"""Train every run of every study, in order, from a checkpoint on where there is one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qlangevin.demo.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from qlangevin.demo.loop import LiveRun, RunResult, capture_run, restore_run_, start_run, train_epoch_
from qlangevin.demo.runs import Run, Settings
from qlangevin.demo.studies import Study
from qlangevin.demo.tasks import Task

Turn = tuple[Task, Run, Settings]


def describe_config(studies: Sequence[Study]) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to be resumed: plain values only."""
    return {study.kind: study.config() for study in studies}


def compare_studies(studies: Sequence[Study], checkpoint_path: Path | None) -> list[list[RunResult]]:
    """Train the runs of each study from the same initial weights over the same mini-batches.

    Returns:
        the results of each study, all runs of its first seed, then of the next.

    Raises:
        CheckpointError: the checkpoint is unusable; nothing has been overwritten.
    """
    config = describe_config(studies)
    position = Checkpoint(config) if checkpoint_path is None else load_checkpoint(checkpoint_path, config)
    turns: list[Turn] = [(study.task, *turn) for study in studies for turn in study.turns()]
    results, live = _resume(checkpoint_path, position, turns)
    with _open_bar(turns, len(results), live) as bar:

        def advance(loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update()

        for task, run, settings in turns[len(results) :]:
            live = live or start_run(run, task, settings)
            bar.set_description_str(run.name, refresh=False)
            for _ in range(live.epoch, settings.epochs):
                train_epoch_(live, advance)
                if checkpoint_path is not None:
                    position.live = capture_run(live)
                    save_checkpoint(checkpoint_path, position)
            results.append(live.result)
            position.finished.append(asdict(live.result))
            live = None
    return _split(results, [len(study.turns()) for study in studies])


def _split(results: Sequence[RunResult], counts: Sequence[int]) -> list[list[RunResult]]:
    ends = [sum(counts[: at + 1]) for at in range(len(counts))]
    return [list(results[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def _resume(path: Path | None, position: Checkpoint, turns: Sequence[Turn]) -> tuple[list[RunResult], LiveRun | None]:
    if position.live is None:
        return [], None
    try:
        results = [RunResult(**finished) for finished in position.finished]
        task, run, settings = turns[len(results)]
        live = start_run(run, task, settings)
        restore_run_(live, position.live)
    except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        cause = str(error).strip().split("\n")[0]
        raise CheckpointError(f"checkpoint {path} does not fit its run: {type(error).__name__}: {cause}") from error
    print(f"resumed from {path}: {run.name}, seed {settings.seed}, after epoch {live.epoch} of {settings.epochs}", flush=True)
    return results, live


def _open_bar(turns: Sequence[Turn], finished: int, live: LiveRun | None) -> Any:
    from tqdm import tqdm  # noqa: PLC0415  an extra: imported only where it is used

    steps = [settings.epochs * settings.batches for _, _, settings in turns]
    done = sum(steps[:finished]) + (live.epoch * live.settings.batches if live else 0)
    interval = 0.2 if sys.stderr.isatty() else 30.0  # a log file gets a line now and then
    # tqdm's monitor would shorten any interval above maxinterval.
    times = {"mininterval": interval, "maxinterval": max(10.0, interval)}
    return tqdm(total=sum(steps), initial=done, unit="step", **times)
