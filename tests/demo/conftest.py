"""Tiny data sets and settings for the tests of the demo."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from qlangevin.demo import data as data_module
from qlangevin.demo import train
from qlangevin.demo.data import DIGITS, ImageData
from qlangevin.demo.runs import Settings

Parse = Callable[[Sequence[str]], argparse.Namespace]


@pytest.fixture(autouse=True)
def hide_debian_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make every machine look like one without Debian's Fashion-MNIST."""
    monkeypatch.setattr(data_module, "DEBIAN_FOLDER", tmp_path / "no-such-folder")


@pytest.fixture(autouse=True)
def use_one_thread() -> Iterator[None]:
    """Compute as the demo does: two threads beside another busy process take ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_data() -> ImageData:
    """40 + 20 images of 8 x 8 random pixels; the name is that of a data set with floors."""
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (60, 1, 8, 8), generator=generator).to(torch.uint8)
    labels = torch.arange(60) % 10
    return ImageData(DIGITS, pixels[:40], labels[:40], pixels[40:], labels[40:])


@pytest.fixture
def settings() -> Settings:
    """Three epochs of two steps."""
    return Settings(epochs=3, batch_size=16, batches=2, seed=3, lr=0.05, momentum=0.9, weight_decay=1e-3, temperature=1e-4)


@pytest.fixture
def parse() -> Parse:
    """Parse a command line as ``python -m qlangevin train`` does."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args
