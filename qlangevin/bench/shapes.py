"""The lists of tensors that are stepped: shapes of real networks, made from their architecture, and extremes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorList:
    """A named list of tensors.

    Args:
        name: what ``--lists`` calls it.
        about: what it stands for, in a few words.
        generate: yields the shapes in the order of the network.
    """

    name: str
    about: str
    generate: Callable[[], Iterator[Shape]]

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of all tensors."""
        return list(self.generate())

    @property
    def elements(self) -> int:
        """Elements of all tensors together."""
        return sum(map(math.prod, self.generate()))


def mlp(widths: tuple[int, ...] = (784, 1024, 1024, 10)) -> Iterator[Shape]:
    """Weights and biases of a multilayer perceptron with these widths."""
    for inputs, outputs in itertools.pairwise(widths):
        yield outputs, inputs
        yield (outputs,)


def norm(width: int) -> Iterator[Shape]:
    """Weight and bias of a batch or layer norm."""
    yield (width,)
    yield (width,)


def resnet50() -> Iterator[Shape]:
    """ResNet-50 for 1,000 classes: 161 tensors, 25,557,032 elements. Source: He et al., CVPR 2016, table 1."""
    yield 64, 3, 7, 7
    yield from norm(64)
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            for shape in ((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)):
                yield shape
                yield from norm(shape[0])
            if block == 0:  # the shortcut whose width changes
                yield 4 * width, inputs, 1, 1
                yield from norm(4 * width)
            inputs = 4 * width
    yield 1000, inputs
    yield (1000,)


def gpt(width: int, layers: int, words: int = 50257, positions: int = 1024) -> Iterator[Shape]:
    """A network like GPT-2, output tied to the embedding. Source: Radford et al., 2019, section 2.3."""
    yield words, width
    yield positions, width
    for _ in range(layers):
        yield from norm(width)
        for inputs, outputs in ((width, 3 * width), (width, width)):  # attention
            yield inputs, outputs
            yield (outputs,)
        yield from norm(width)
        for inputs, outputs in ((width, 4 * width), (4 * width, width)):  # feed-forward
            yield inputs, outputs
            yield (outputs,)
    yield from norm(width)


def gpt2() -> Iterator[Shape]:
    """GPT-2 with 124 M parameters: 148 tensors, 124,439,808 elements. Source: Radford et al., 2019, table 2, first row."""
    return gpt(768, 12)


def repeat(count: int, size: int) -> Callable[[], Iterator[Shape]]:
    """`count` vectors of `size` elements."""
    return lambda: ((size,) for _ in range(count))


LISTS = {
    entry.name: entry
    for entry in (
        TensorList("mlp", "a perceptron 784-1024-1024-10", mlp),
        TensorList("many-small", "1,000 vectors of 1,024: the host's work shows", repeat(1000, 1024)),
        TensorList("resnet50", "ResNet-50", resnet50),
        TensorList("large", "32 vectors of 1 M: what the goals use", repeat(32, 1 << 20)),
        TensorList("gpt2-124m", "GPT-2, 124 M parameters", gpt2),
        TensorList("one-huge", "one vector of 64 M", repeat(1, 64 << 20)),
    )
}
