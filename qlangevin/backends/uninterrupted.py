"""Ctrl-C waits for the end of a step: what takes several calls of Python is then done whole or not at all."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Python's handler of Ctrl-C back until the end; other threads than the main one have none."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[Any, ...]] = []
    try:  # around the change as well: the handler of another signal may raise after it
        signal.signal(signal.SIGINT, lambda *signaled: held.append(signaled))
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held:
            handler(*held[0])
