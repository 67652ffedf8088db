"""The memory of the interpreted GPU: regions at made-up addresses. What lies outside, misaligned or read-only is an error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
SPACING = 1 << 32  # so that an address a kernel works out wrongly falls between two regions


class AccessError(Exception):
    """An access that a GPU would not survive, or that a kernel must not make."""


@dataclass
class Region:
    """bytes: its contents, a multiple of 16 of them."""

    name: str
    base: int
    bytes: NDArray[np.uint8]
    writable: bool

    def view(self, size: int) -> NDArray[np.uint8] | NDArray[np.uint16] | Words:
        """The contents in the largest unit that an access of this many bytes is made of."""
        if size == 1:
            return self.bytes
        return self.bytes.view(np.uint16) if size == 2 else self.bytes.view(np.uint32)


class Memory:
    """Regions, found by address."""

    def __init__(self) -> None:
        self.regions: list[Region] = []

    def add(self, name: str, contents: bytes | bytearray, writable: bool = False) -> Region:
        """A new region that begins with these bytes; its address is a multiple of 256."""
        raw = np.frombuffer(bytes(contents), np.uint8)
        padded = np.zeros(-(-max(len(raw), 1) // 16) * 16, np.uint8)
        padded[: len(raw)] = raw
        region = Region(name, (len(self.regions) + 1) * SPACING + 0x7F0000000000 - 0x1000, padded, writable)
        self.regions.append(region)
        return region

    def find(self, addresses: NDArray[np.uint64], size: int) -> tuple[Region, NDArray[np.int64]]:
        """The region that holds all of some accesses, and where in it they begin, in units of Region.view."""
        lowest, highest = int(addresses.min()), int(addresses.max())
        for region in self.regions:
            if region.base <= lowest and highest + size <= region.base + len(region.bytes):
                break
        else:
            raise AccessError(f"{size} bytes at {lowest:#x} to {highest:#x} lie in no region")
        if (addresses % np.uint64(size)).any():
            raise AccessError(f"a misaligned access of {size} bytes to {region.name}")
        return region, ((addresses - np.uint64(region.base)) // np.uint64(min(size, 4))).astype(np.int64)

    def load(self, addresses: NDArray[np.uint64], size: int) -> list[Words]:
        """The words at the addresses: one list entry for each register filled."""
        region, at = self.find(addresses, size)
        view = region.view(size)
        return [view[at + k].astype(np.uint32) for k in range(max(1, size // 4))]

    def store(self, addresses: NDArray[np.uint64], size: int, words: list[Words]) -> None:
        """Stores a register for each word."""
        region, at = self.find(addresses, size)
        if not region.writable:
            raise AccessError(f"a store to {region.name}")
        view = region.view(size)
        for k, word in enumerate(words):
            view[at + k] = word.astype(view.dtype)
