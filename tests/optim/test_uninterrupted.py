"""Ctrl-C during a step: all of it is done, then the interrupt arrives."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import SGLD
from qlangevin.backends import reference
from qlangevin.backends.uninterrupted import uninterrupted


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_arrives_at_the_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        interrupt()
        done.append(1)
        interrupt()
        done.append(2)
    assert done == [1, 2]
    with pytest.raises(KeyboardInterrupt):  # and is Python's again
        interrupt()


def test_a_handler_of_the_user_s_is_the_one_that_is_called() -> None:
    signaled: list[tuple[Any, ...]] = []

    def handle(*args: Any) -> None:
        signaled.append(args)

    before = signal.signal(signal.SIGINT, handle)
    try:
        with uninterrupted():
            interrupt()
            assert not signaled
        assert [number for number, _ in signaled] == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is handle
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_signal_s_handler_that_raises_leaves_ctrl_c_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    change = signal.signal
    before = signal.getsignal(signal.SIGINT)

    def change_and_raise(*args: Any) -> Any:
        monkeypatch.undo()
        change(*args)
        raise TimeoutError

    monkeypatch.setattr(signal, "signal", change_and_raise)
    with pytest.raises(TimeoutError), uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_a_plan_is_made_leaves_no_states(monkeypatch: pytest.MonkeyPatch) -> None:
    param = Parameter(torch.ones(3))
    optimizer = SGLD([param], 0.1, temperature=0.0, momentum=0.9, backend="reference")
    param.grad = torch.ones(3)
    monkeypatch.setattr(reference.ReferenceBackend, "make_plan", lambda *_: interrupt())
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert not optimizer.state[param]


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    found = []

    def look() -> None:
        with uninterrupted():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start(), thread.join()
    assert found == [before]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        look()
        assert found[1] == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_reference_steps_all_tensors_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    params = [Parameter(torch.ones(3)) for _ in range(4)]
    optimizer = SGLD(params, 0.1, temperature=0.0, backend="reference")
    for param in params:
        param.grad = torch.ones(3)
    step_tensor = reference.reference.step_tensor

    def step_and_interrupt(*args: Any) -> Any:
        interrupt()
        return step_tensor(*args)

    monkeypatch.setattr(reference.reference, "step_tensor", step_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert all(bool((param < 1).all()) for param in params)
    assert [int(optimizer.state[param]["step"]) for param in params] == [1] * 4
