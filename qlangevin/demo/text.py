"""Read the demo's text as bytes: a file, or the sources of Python's standard library, which every machine has."""

from __future__ import annotations

import codecs
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from qlangevin.demo.data import DataError, digest_tensors, read_bytes

STANDARD_LIBRARY = "Python's standard library"
MOST_BYTES = 1 << 24  # far more than the demo's steps see
LEAST_BYTES = 10_000  # below, a tenth of it is no validation set


@dataclass(frozen=True)
class TextData:
    """One text in memory.

    Args:
        name: what the demo prints.
        train: (N,) uint8.
        validation: (M,) uint8: the last tenth of the text.
    """

    name: str
    train: Tensor
    validation: Tensor

    def digest(self) -> str:
        """Return a fingerprint of every byte."""
        return digest_tensors((self.train, self.validation))


def load_text(path: Path | None) -> TextData:
    """Load a text file, plain or .gz, the first 16 MiB of it; without one the modules of Python's standard library.

    Raises:
        DataError: the file is missing, too short or no UTF-8 text; there are no sources.
    """
    if path is None:
        return split_text(STANDARD_LIBRARY, _read_standard_library(Path(sysconfig.get_path("stdlib"))))
    content = read_bytes(path, MOST_BYTES)
    _check_text(path, content)
    return split_text(path.name, content)


def split_text(name: str, content: bytes) -> TextData:
    """Split a text into its first nine tenths and its last one."""
    text = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    cut = len(text) * 9 // 10
    return TextData(name, text[:cut], text[cut:])


def _check_text(path: Path, content: bytes) -> None:
    if not content:
        raise DataError(f"--text {path} is empty")
    try:
        # Not final where the reading stopped, which may be inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(content, final=len(content) < MOST_BYTES)
    except UnicodeDecodeError as error:
        raise DataError(f"--text {path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    if b"\0" in content:
        raise DataError(f"--text {path} is not text: byte {content.index(0)} is NUL")
    if len(content) < LEAST_BYTES:
        raise DataError(f"--text {path} holds {len(content)} bytes; at least {LEAST_BYTES} are needed")


def _read_standard_library(folder: Path) -> bytes:
    paths = sorted(folder.glob("*.py"))
    # Shuffled, so that the validation set is not the end of the alphabet; the same on every machine.
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).tolist()
    content = b"".join(read_bytes(paths[at]) for at in order)
    if len(content) < LEAST_BYTES:
        raise DataError(f"{folder} holds no sources of the standard library: give a text with --text FILE")
    return content
