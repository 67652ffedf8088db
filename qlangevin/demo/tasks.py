"""What the demo trains: a model, its mini-batches and the score that is measured after each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qlangevin.demo.gpt import CONTEXT, build_gpt
from qlangevin.demo.images import NUM_CLASSES, ImageData
from qlangevin.demo.residual_network import build_residual_network
from qlangevin.demo.runs import Settings
from qlangevin.demo.text import TextData

_TEST_BATCH = 1000
_VALIDATION_WINDOWS = 256
_VALIDATION_BATCH = 32


@dataclass(frozen=True)
class Score:
    """What a task measures.

    Args:
        name: for the table and the curves.
        unit: of what is printed.
        factor: from the value to that unit.
        digits: printed after the point.
        higher_is_better: False for a loss.
    """

    name: str
    unit: str
    factor: float
    digits: int
    higher_is_better: bool

    def format(self, value: float, sign: str = "") -> str:
        """Return a value, or with the sign "+" a difference, in the printed unit."""
        return f"{self.factor * value:{sign}.{self.digits}f}"


ACCURACY = Score("test accuracy", "%", 100.0, 2, higher_is_better=True)
VALIDATION_LOSS = Score("validation loss", "nats/byte", 1.0, 4, higher_is_better=False)


class Task(Protocol):
    """What the loop needs of a model and its data; scores of the classes are the model's last dimension."""

    @property
    def name(self) -> str:
        """Of the data."""

    @property
    def score(self) -> Score:
        """What `measure` returns."""

    def describe(self) -> str:
        """Return one line about the data."""

    def digest(self) -> str:
        """Return a fingerprint of the data."""

    def build_model(self, seed: int) -> nn.Module:
        """Build the model; the same seed gives the same initial weights."""

    def draw_batches(self, epoch: int, settings: Settings) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and int64 classes of each step of an epoch; the same in every run of a seed, resumed or not."""

    def measure(self, model: nn.Module) -> float:
        """Return the score of the model."""


def seed_epoch(epoch: int, settings: Settings) -> torch.Generator:
    """Return the generator of an epoch's mini-batches, which depends on nothing that was drawn before."""
    return torch.Generator().manual_seed(settings.seed + 1_000_003 * (epoch + 1))


class ImageTask:
    """A residual network that labels images; an epoch is a pass over them."""

    score = ACCURACY

    def __init__(self, data: ImageData) -> None:
        self.data = data
        self.name = data.name
        self._scale = measure_pixels(data.train_images)

    def describe(self) -> str:
        """Return numbers and shape of the images."""
        shape = " x ".join(str(extent) for extent in self.data.train_images.shape[1:])
        return f"{len(self.data.train_labels)} training and {len(self.data.test_labels)} test images of {shape}"

    def digest(self) -> str:
        """Return a fingerprint of every pixel and label."""
        return self.data.digest()

    def build_model(self, seed: int) -> nn.Module:
        """Build the residual network."""
        return build_residual_network(self.data.train_images.shape[1:], NUM_CLASSES, seed)

    def draw_batches(self, epoch: int, settings: Settings) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalized images and labels, all images in a new order."""
        order = torch.randperm(len(self.data.train_labels), generator=seed_epoch(epoch, settings))
        for step in range(settings.batches):
            batch = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            yield normalize(self.data.train_images[batch], self._scale), self.data.train_labels[batch]

    def measure(self, model: nn.Module) -> float:
        """Return the fraction of test images that the model labels correctly."""
        images, labels = self.data.test_images, self.data.test_labels
        correct = 0
        for start in range(0, len(labels), _TEST_BATCH):
            scores = model(normalize(images[start : start + _TEST_BATCH], self._scale))
            correct += int((scores.argmax(dim=1) == labels[start : start + _TEST_BATCH]).sum())
        return correct / len(labels)


class TextTask:
    """A small GPT that predicts the next byte; an epoch is a number of steps over random windows."""

    score = VALIDATION_LOSS

    def __init__(self, data: TextData) -> None:
        self.data = data
        self.name = data.name

    def describe(self) -> str:
        """Return the size of the text."""
        return f"{len(self.data.train):,} training and {len(self.data.validation):,} validation bytes, context {CONTEXT}"

    def digest(self) -> str:
        """Return a fingerprint of every byte."""
        return self.data.digest()

    def build_model(self, seed: int) -> nn.Module:
        """Build the GPT."""
        return build_gpt(seed)

    def draw_batches(self, epoch: int, settings: Settings) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield windows of the text and the bytes that follow each of theirs."""
        generator = seed_epoch(epoch, settings)
        for _ in range(settings.batches):
            starts = torch.randint(len(self.data.train) - CONTEXT, (settings.batch_size,), generator=generator)
            yield cut_windows(self.data.train, starts)

    def measure(self, model: nn.Module) -> float:
        """Return the mean loss in nats per byte over windows that lie evenly in the validation text."""
        last = len(self.data.validation) - CONTEXT - 1
        starts = torch.linspace(0, last, _VALIDATION_WINDOWS, dtype=torch.float64).long()
        total = 0.0
        for some in torch.split(starts, _VALIDATION_BATCH):
            inputs, targets = cut_windows(self.data.validation, some)
            total += len(some) * cross_entropy(model(inputs), targets).item()
        return total / len(starts)


def cross_entropy(scores: Tensor, classes: Tensor) -> Tensor:
    """Return the mean loss in nats of (..., C) scores for (...) classes."""
    return F.cross_entropy(scores.flatten(0, -2), classes.flatten())


def cut_windows(text: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (N, CONTEXT) bytes from each start on, and those one further, both int64."""
    windows = text[starts.unsqueeze(1) + torch.arange(CONTEXT + 1)].long()
    return windows[:, :-1], windows[:, 1:]


def measure_pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel of (N, C, H, W) uint8 images, (C, 1, 1) fp32."""
    counts = [torch.bincount(images[:, channel].flatten(), minlength=256).double() for channel in range(images.shape[1])]
    values = torch.arange(256, dtype=torch.float64)
    means = torch.stack([(count * values).sum() / count.sum() for count in counts])
    squares = torch.stack([(count * values**2).sum() / count.sum() for count in counts])
    deviations = (squares - means**2).clamp(min=1e-4).sqrt()
    return means.float().reshape(-1, 1, 1), deviations.float().reshape(-1, 1, 1)


def normalize(images: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    """Widen (N, C, H, W) uint8 images to fp32 of mean 0 and variance 1, in the channels-last layout."""
    mean, deviation = scale
    return images.float().sub_(mean).div_(deviation).contiguous(memory_format=torch.channels_last)
