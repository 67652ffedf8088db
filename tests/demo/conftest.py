"""Tiny data sets and settings for the tests of the demo."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from qlangevin.demo import images, train
from qlangevin.demo.images import DIGITS, ImageData
from qlangevin.demo.runs import Run, Settings
from qlangevin.demo.studies import Study
from qlangevin.demo.tasks import ImageTask, TextTask
from qlangevin.demo.text import split_text

Parse = Callable[[Sequence[str]], argparse.Namespace]


@pytest.fixture(autouse=True)
def hide_debian_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make every machine look like one without Debian's Fashion-MNIST."""
    monkeypatch.setattr(images, "DEBIAN_FOLDER", tmp_path / "no-such-folder")


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
def tiny_images(tiny_data: ImageData) -> ImageTask:
    """The residual network on them."""
    return ImageTask(tiny_data)


@pytest.fixture
def tiny_text() -> TextTask:
    """The GPT on 20,000 bytes of countdown, of which it learns a lot in a few steps."""
    return TextTask(split_text("countdown", b"".join(b"%d, " % number for number in range(4100, 0, -1))))


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


def make_study(task: ImageTask | TextTask, settings: Settings, runs: Sequence[Run], seeds: int = 1) -> Study:
    """A study of the kind that the task has in the demo."""
    return Study("images" if isinstance(task, ImageTask) else "text", task, settings, runs, seeds)
