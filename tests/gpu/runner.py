"""Runs test files with pytest; where there is none, with a stand-in for the little of it that the GPU's tests use.

Usage: python -m tests.gpu.runner FILE...
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import re
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


class Skipped(Exception):
    """A test that is not run; its text says why."""


def parametrize(names: str | Sequence[str], values: Sequence[Any]) -> Callable[[Any], Any]:
    """pytest.mark.parametrize, without ids."""
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = [dict(zip(listed, row if len(listed) > 1 else (row,), strict=True)) for row in values]

    def mark(test: Any) -> Any:
        test.choices = [*getattr(test, "choices", []), rows]
        return test

    return mark


def skipif(condition: bool, reason: str) -> Callable[[Any], Any]:
    """pytest.mark.skipif."""

    def mark(test: Any) -> Any:
        if condition:
            test.skipped = reason
        return test

    mark.reason = reason if condition else None  # type: ignore[attr-defined]  # as a module's pytestmark
    return mark


@contextlib.contextmanager
def raises(kind: type[BaseException], match: str = "") -> Iterator[None]:
    """pytest.raises."""
    try:
        yield
    except kind as error:
        assert re.search(match, str(error)), f"{match!r} is not in {error}"
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def skip(reason: str) -> None:
    """pytest.skip."""
    raise Skipped(reason)


def stand_in() -> types.ModuleType:
    """A module in pytest's place."""
    module: Any = types.ModuleType("pytest")
    module.mark = types.SimpleNamespace(parametrize=parametrize, skipif=skipif)
    module.raises, module.skip = raises, skip
    return module  # type: ignore[no-any-return]


def list_calls(test: Any) -> Iterator[dict[str, Any]]:
    """The arguments of every call of a test."""
    for rows in itertools.product(*getattr(test, "choices", [])):
        yield {name: value for row in rows for name, value in row.items()}


def run_test(test: Any, reason: str | None, found: dict[str, int]) -> None:
    """Calls a test with all its arguments and counts the outcomes."""
    for arguments in list_calls(test):
        try:
            if why := getattr(test, "skipped", None) or reason:
                raise Skipped(why)
            test(**arguments)
            found["passed"] += 1
        except Skipped as error:
            found["skipped"] += 1
            print(f"SKIPPED {test.__name__} {arguments}: {error}", flush=True)
        except Exception:
            found["failed"] += 1
            print(f"FAILED {test.__name__} {arguments}\n{traceback.format_exc()}", flush=True)


def run_files(paths: Sequence[str]) -> int:
    """Runs files without pytest; the exit status."""
    sys.modules["pytest"] = stand_in()
    found, start = {"passed": 0, "failed": 0, "skipped": 0}, time.perf_counter()
    for path in paths:
        module = importlib.import_module(".".join(Path(path).with_suffix("").parts))
        reason = getattr(getattr(module, "pytestmark", None), "reason", None)
        for name, test in vars(module).items():
            if name.startswith("test_") and callable(test) and test.__module__ == module.__name__:
                run_test(test, reason, found)
    told = ", ".join(f"{count} {name}" for name, count in found.items() if count)
    print(f"{told or 'no tests'} in {time.perf_counter() - start:.1f}s (without pytest)")
    return int(found["failed"] > 0 or not found["passed"])


def main(paths: Sequence[str]) -> int:
    """Runs files; the exit status."""
    if importlib.util.find_spec("pytest") is None:
        return run_files(paths)
    pytest = importlib.import_module("pytest")
    return int(pytest.main(["-q", "-p", "no:cacheprovider", "--durations=3", *paths]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
