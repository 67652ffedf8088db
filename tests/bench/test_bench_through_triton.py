"""What the GPU's benchmark says of Triton; its times are made up."""

from __future__ import annotations

import subprocess
import time
from typing import Any
from unittest import mock

import pytest
import torch

from benchmarks.gpu import through_triton
from benchmarks.gpu.bounds import Bounds, read_table
from benchmarks.gpu.chart import draw
from benchmarks.gpu.meter import Meter
from benchmarks.gpu.results import format_rows
from benchmarks.gpu.rows import list_rows
from benchmarks.gpu.sections import Findings
from qlangevin.bench.cases import BF16
from qlangevin.bench.machine import describe_machine
from qlangevin.bench.measure import wrap_params

METER = Meter(torch.device("cpu"), small=True)
NAME = "bf16 momentum + noise"
OURS = 13  # rows of a dtype


def make_findings(seconds: float) -> Findings:
    """What the native rows have left."""
    findings = Findings(time.monotonic() + seconds, Bounds(4000.0, 1980.0, 132, read_table(METER.device, small=True)))
    figures = {
        "ms": 2.0,
        "bytes_per_element": 10.0,
        "gb_per_s": 1.0,
        "share_of_copy": 0.5,
        "issue_ms": None,
        "share_of_bound": 0.5,
    }
    findings.sections["rows"] = {row.case.name: {**figures, "family": row.case.family} for row in list_rows(BF16)}
    return findings


def measure(findings: Findings) -> dict[str, dict[str, Any]]:
    """The rows of bfloat16, each of which takes 1.05 times as long as the native one."""
    with mock.patch.object(through_triton, "time_row", lambda *_: ({"ms": 2.1, "gb_per_s": 1.0}, 4e9 * 1.05e-3 * 2)):
        through_triton.measure_rows(BF16)(METER, findings)
    return {name: row["triton"] for name, row in findings.sections["rows"].items() if "triton" in row}


def test_every_row_of_ours_has_a_column_of_triton(tmp_path: Any) -> None:
    findings = make_findings(100)
    found = measure(findings)
    assert len(found) == OURS and not any("torch" in name or "eager" in name for name in found)
    assert found[NAME]["over_native"] == pytest.approx(1.05) and found[NAME]["issue_ms"] > 0
    assert [(goal["value"], goal["met"]) for goal in findings.goals] == [(found[NAME]["share_of_bound"], False), (1.05, True)]
    bench = {**findings.sections, "machine": describe_machine(METER.device)}
    (line,) = (line for line in format_rows(bench) if line.startswith(f"| {NAME} |"))
    assert line.endswith("| 2.100 | 1 | 0 % | 0 % | 1.05 |")
    assert len({line.count("|") for line in format_rows(bench) if line.startswith("|")}) == 1
    draw(bench, tmp_path / "bench.png")


def test_a_named_backend_is_that_of_every_row_of_ours() -> None:
    params = wrap_params([(torch.ones(3, dtype=BF16), torch.ones(3, dtype=BF16))])
    steppers: list[Any] = [row.case.make(params) for row in list_rows(BF16, "triton") if row.case.family == "qlangevin"]
    assert [stepper.backend for stepper in steppers] == ["triton"] * OURS


def test_the_instructions_are_those_of_triton_s_kernels() -> None:
    own = Bounds(4000.0, 1980.0, 132, read_table(METER.device, small=True, prefix="triton_"))
    native = Bounds(4000.0, 1980.0, 132, read_table(METER.device, small=True))
    sizes = [bounds.issue_seconds("momentum " + "/".join(["bfloat16"] * 3), "everything", 10**9) for bounds in (own, native)]
    assert sizes[0] is not None and sizes[1] is not None and sizes[0] != sizes[1]
    assert 1e3 * sizes[0] / 10**9 == pytest.approx(measure_issue(), rel=1e-6)


def measure_issue() -> float:
    """The milliseconds for an element that the row says."""
    findings = make_findings(100)
    elements = sum(torch.Size(shape).numel() for shape in through_triton.shapes_of(1.0, small=True))
    return float(measure(findings)[NAME]["issue_ms"]) / elements


def test_rows_for_which_there_is_no_time_are_named() -> None:
    findings = make_findings(-1)
    assert measure(findings) == {}
    assert findings.left_out[0].startswith("Triton, no time was left: bf16 plain, ") and NAME in findings.left_out[0]
    assert [goal["met"] for goal in findings.goals] == [None, None]


def test_triton_is_left_out_with_a_reason() -> None:
    for seconds, why in ((100, "Triton: Triton"), (-1, "Triton: no time was left")):
        findings = make_findings(seconds)
        with mock.patch.object(through_triton, "explain_backends", lambda *_: {"triton": "Triton is not there"}):
            assert list(through_triton.list_sections(METER.device, findings)) == []
        assert findings.left_out[0].startswith(why)
    with (
        mock.patch.object(through_triton, "explain_backends", lambda *_: {"triton": None}),
        mock.patch.object(through_triton, "what_fails", lambda *_: "it is wrong"),
    ):
        findings = make_findings(100)
        assert list(through_triton.list_sections(METER.device, findings)) == []
    assert findings.left_out == ["Triton: it is wrong"]


def measure_first_step(findings: Findings, run: Any) -> None:
    """With another way to run processes."""
    gpu = mock.Mock(device=mock.Mock(type="cuda"))
    with mock.patch.object(subprocess, "run", run):
        through_triton.measure_first_step(gpu, findings)


def test_first_steps() -> None:
    folders = []

    def run(words: list[str], env: dict[str, str], **options: Any) -> Any:
        folders.append(env["TRITON_CACHE_DIR"])
        return mock.Mock(
            returncode=0, stdout=f'warning\n{{"seconds": {7 - 3 * len(folders)}, "compiled": ["a", "b", "c", "d"]}}\n'
        )

    findings = make_findings(100)
    measure_first_step(findings, run)
    assert len(set(folders)) == 1 and len(folders) == 2
    assert [(goal["value"], goal["met"]) for goal in findings.goals] == [(4, True), (1, True), (4, False)]


def test_first_steps_that_fail_or_take_too_long() -> None:
    findings = make_findings(100)
    measure_first_step(findings, mock.Mock(side_effect=subprocess.TimeoutExpired("it", 1)))
    assert findings.left_out == ["Triton, first step, nothing compiled before: no time was left"] and not findings.goals
    with pytest.raises(RuntimeError, match="no kernel"):
        measure_first_step(findings, mock.Mock(return_value=mock.Mock(returncode=1, stderr="trace\nno kernel\n")))
