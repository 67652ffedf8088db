"""A table on a GPU that the host writes anew where it changed, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor


class DeviceTable:
    """Words of 64 bits on a device, uploaded in the stream's order from pinned memory that torch keeps until the copy is done.

    A graph keeps an upload that was captured: every replay repeats it. From then on each eager step uploads as well, because a
    replay may have written the table since.
    """

    def __init__(self, device: torch.device, words: int) -> None:
        self.tensor = torch.zeros(max(words, 1), dtype=torch.int64, device=device)
        self.held: bytes | None = None  # what the device has
        self.is_captured = False
        self.kept: list[Tensor] = []  # that graphs copy from
        self.spare = self._stage() if device.type != "cpu" else None  # for a capture, which may not allocate pinned memory

    def put(self, data: bytes, capturing: bool) -> None:
        """Makes the table begin with `data`, whose length is a multiple of 8."""
        self.is_captured |= capturing
        if not data or (data == self.held and not self.is_captured):
            return
        self.held = None  # if the copy fails
        values = torch.frombuffer(bytearray(data), dtype=torch.int64)
        if self.tensor.device.type != "cpu":
            values = self._pin(values, capturing)
        self.tensor[: len(values)].copy_(values, non_blocking=True)
        self.held = data

    def _stage(self) -> Tensor:
        return torch.empty_like(self.tensor, device="cpu", pin_memory=True)

    def _pin(self, values: Tensor, capturing: bool) -> Tensor:
        if not capturing:
            if self.spare is None:
                self.spare = self._stage()
            return values.pin_memory()
        staged, self.spare = self.spare if self.spare is not None else self._stage(), None
        self.kept.append(staged)
        return staged[: len(values)].copy_(values)
