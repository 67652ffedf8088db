"""The golden digests, recomputed by the reference and by every native path."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from . import golden
from .kernels import USABLE_PATHS, Job, Step, step_native, step_reference

KNOWN: dict[str, str] = json.loads(golden.FILE.read_text())
RUNS = list(golden.list_runs())


def stepper_of(path: str) -> Callable[[Step, list[Job]], None]:
    if path == "reference":
        return step_reference
    return lambda step, jobs: step_native(step, jobs, path)


def test_the_file_holds_exactly_the_runs() -> None:
    assert list(KNOWN) == [run.name for run in RUNS]
    assert len(set(KNOWN.values())) == len(KNOWN)


@pytest.mark.parametrize("row", golden.ROWS)
@pytest.mark.parametrize("path", ["reference", *USABLE_PATHS])
def test_the_digests_are_those_committed(path: str, row: str) -> None:
    stepper = stepper_of(path)
    different = [run.name for run in RUNS if run.row == row and golden.digest_run(run, stepper) != KNOWN[run.name]]
    assert not different, f"{len(different)} of the digests differ, the first: {different[:3]}"
