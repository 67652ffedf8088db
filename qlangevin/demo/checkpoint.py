"""Save and load the position of the demo in one file, atomically and checked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

_FORMAT = 2


class CheckpointError(ValueError):
    """A checkpoint that is truncated, corrupt, or of another configuration; the file is left as it is."""


@dataclass
class Checkpoint:
    """The demo's position.

    Args:
        config: what must be equal for a resumed demo to end like an uninterrupted one; plain values, by study.
        finished: one dict of results per finished run, in order.
        live: `loop.capture_run` of the run in progress, or None between runs.
    """

    config: dict[str, Any]
    finished: list[dict[str, Any]] = field(default_factory=list)
    live: dict[str, Any] | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint to `path`: whole, or not at all."""
    content = {
        "format": _FORMAT,
        "config": checkpoint.config,
        "finished": checkpoint.finished,
        "live": checkpoint.live,
    }
    # In the same folder, because os.replace is atomic only within one file system.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CheckpointError(f"cannot write checkpoint {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, config: dict[str, Any]) -> Checkpoint:
    """Read the checkpoint at `path`, or return an empty one where there is no file.

    Raises:
        CheckpointError: the file is truncated, corrupt, not the demo's, or of another configuration.
    """
    if not path.exists():
        return Checkpoint(config)
    content = _read_content(path)
    if not isinstance(content, dict) or set(content) != {"format", "config", "finished", "live"}:
        raise CheckpointError(f"{path} is not a checkpoint of this demo")
    if content["format"] != _FORMAT:
        raise CheckpointError(f"{path} has checkpoint format {content['format']}, this version reads {_FORMAT}")
    _check_config(path, content["config"], config)
    return Checkpoint(config, content["finished"], content["live"])


def _read_content(path: Path) -> Any:
    try:
        # torch.load ignores the CRCs that torch.save wrote: a flipped bit would become a wrong weight.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"checkpoint {path} is corrupt: wrong CRC in {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes raise whatever the parser meets first, a dozen types
        cause = str(error).strip().split("\n")[0]
        raise CheckpointError(f"checkpoint {path} is truncated or corrupt: {type(error).__name__}: {cause}") from error


def _check_config(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a checkpoint of this demo: it has no configuration")
    differences = "; ".join(_list_differences(found, wanted))
    if differences:
        raise CheckpointError(f"checkpoint {path} is of another configuration: {differences}")


def _list_differences(found: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name in sorted(found.keys() | wanted.keys()):
        there, here = found.get(name), wanted.get(name)
        if isinstance(there, dict) and isinstance(here, dict):
            yield from _list_differences(there, here, f"{name}: ")
        elif isinstance(there, dict) or isinstance(here, dict):
            yield f"{name} is {'only there' if here is None else 'only here'}"
        elif there != here:
            yield f"{prefix}{name} is {there} there, {here} here"
