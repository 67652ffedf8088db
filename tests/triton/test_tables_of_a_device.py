"""What goes up to a device and what counts the host's steps, without Triton."""

from __future__ import annotations

import struct

import pytest
import torch

from qlangevin.backends.device_table import DeviceTable
from qlangevin.backends.host_counters import HostCounters
from qlangevin.backends.triton import pack_addresses
from qlangevin.scalar_values import COUNTER_END

CPU = torch.device("cpu")


def pack(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}q", *words)


def count_copies(table: DeviceTable, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many words each upload takes, from now on."""
    found: list[int] = []
    copy = torch.Tensor.copy_

    def counted(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        found.append(self.numel())
        return copy(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.Tensor, "copy_", counted)
    return found


def test_only_a_change_goes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    table = DeviceTable(CPU, 4)
    copies = count_copies(table, monkeypatch)
    for words in ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 5), (7,), (7,)):
        table.put(pack(*words), False)
    table.put(b"", False)
    assert copies == [4, 4, 1] and table.tensor.tolist() == [7, 2, 3, 5]


def test_after_a_capture_everything_goes_up_because_a_replay_may_have_written(monkeypatch: pytest.MonkeyPatch) -> None:
    table = DeviceTable(CPU, 2)
    copies = count_copies(table, monkeypatch)
    table.put(pack(1, 2), False)
    table.put(pack(1, 2), True)
    table.tensor.fill_(9)  # a replay of another graph
    table.put(pack(1, 2), False)
    assert table.tensor.tolist() == [1, 2] and copies == [2, 2, 2]


def test_an_upload_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table = DeviceTable(CPU, 1)
    table.put(pack(1), False)

    def fail(self: torch.Tensor, *args: object, **kwargs: object) -> None:
        self.fill_(9)  # the device has part of it
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "copy_", fail)
        with pytest.raises(RuntimeError):
            table.put(pack(2), False)
    table.put(pack(1), False)
    assert table.tensor.tolist() == [1]
    table.tensor.fill_(5)
    table.put(pack(1), False)
    assert table.tensor.tolist() == [5]  # it is known to be there


def test_what_goes_up_is_pinned_and_a_graph_s_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is meta, which takes everything and keeps nothing; pinned memory is that which these return."""
    pinned, sent = list[torch.Tensor](), list[torch.Tensor]()

    def pin(self: object, *args: object) -> torch.Tensor:
        pinned.append(self.clone() if isinstance(self, torch.Tensor) else torch.zeros(3, dtype=torch.int64))
        return pinned[-1]

    copy = torch.Tensor.copy_

    def send(self: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if self.device.type == "meta":
            assert non_blocking and any(source.data_ptr() == one.data_ptr() for one in pinned)
            sent.append(source)
        return copy(self, source)

    monkeypatch.setattr(DeviceTable, "_stage", pin)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "copy_", send)
    table = DeviceTable(torch.device("meta"), 3)
    for words, capturing in (((1, 2), False), ((1, 2), True), ((4, 5, 6), False), ((7, 8, 9), True)):
        table.put(pack(*words), capturing)
        if capturing:
            assert table.spare is None
    assert [source.tolist() for source in sent] == [[1, 2], [1, 2], [4, 5, 6], [7, 8, 9]]
    assert [one.data_ptr() for one in table.kept] == [sent[1].data_ptr(), sent[3].data_ptr()]
    staged = len(pinned)
    table.put(pack(1), False)
    assert table.spare is not None and len(pinned) == staged + 2  # for the next capture, and this upload


def test_counters_are_read_and_advanced_wherever_they_lie() -> None:
    together, apart = torch.arange(3).unbind(0), [torch.tensor(10), torch.tensor(COUNTER_END - 1)]
    counters = HostCounters([*together, apart[0], together[0].new_tensor(4), apart[1]])
    assert counters.read() == [0, 1, 2, 10, 4, COUNTER_END - 1] and counters.fit()
    assert len(counters.arrays) == 4
    counters.advance()
    assert [int(step) for step in (*together, *apart)] == [1, 2, 3, 11, COUNTER_END]
    assert not counters.fit()
    apart[1].fill_(-1)
    assert not counters.fit()
    apart[1].fill_(0)
    assert counters.fit()


def test_the_backward_order_of_neighbours_is_no_run() -> None:
    steps = torch.arange(4).unbind(0)
    counters = HostCounters(steps[::-1])
    assert counters.read() == [3, 2, 1, 0]
    counters.advance()
    assert [int(step) for step in steps] == [1, 2, 3, 4]


@pytest.mark.parametrize("addresses", [[], [0, 1, 2**63 + 8, 2**64 - 8]])
def test_addresses_become_words(addresses: list[int]) -> None:
    assert pack_addresses(addresses) == struct.pack(f"<{len(addresses)}Q", *addresses)
