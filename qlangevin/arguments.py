"""Types of command-line arguments, for argparse; what is wrong with one is told before anything is run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

PICTURES = (".png", ".svg", ".pdf")
MOST = 2**31


def parse_integer(text: str, low: int) -> int:
    """An integer in [low, 2^31)."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
    if not low <= value < MOST:
        raise argparse.ArgumentTypeError(f"{value} is not in [{low}, {MOST})")
    return value


def parse_count(text: str) -> int:
    """An integer of at least 1."""
    return parse_integer(text, 1)


def parse_file(text: str) -> Path:
    """A file that can be written, now: after minutes of work it is too late to learn that the result has no place to go."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent} is not a folder")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return path


def parse_picture(text: str) -> Path:
    """The same with the suffix of a picture."""
    path = parse_file(text)
    if path.suffix not in PICTURES:
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(PICTURES)}")
    return path
