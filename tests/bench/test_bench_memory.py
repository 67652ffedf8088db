"""What fits into memory, and the growth of a step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qlangevin.bench import memory
from qlangevin.bench.cases import F32, EagerLangevin
from qlangevin.bench.measure import make_tensors, measure_list, wrap_params
from qlangevin.bench.memory import available_bytes, fit, measure_growth, read_kib

from .conftest import EAGER, FUSED, OURS, OURS_BF16, TINY

CPU = torch.device("cpu")
STATES = {FUSED.name: 4.0, EAGER.name: 0.0, OURS.name: 4.0, OURS_BF16.name: 2.0}
# 1,000 elements: 8,000 bytes of temporaries and 1,000 beside; float32 values and gradients 8,000, bfloat16 4,000; states by case.
NEEDED = {"fused": 8000 + 1000 + 8000 + 4000, "bf16 too": 8000 + 1000 + 8000 + 4000 + 4000 + 2000}


@pytest.mark.parametrize(
    ("free", "kept"),
    [
        (NEEDED["bf16 too"] + 4000, [FUSED, EAGER, OURS, OURS_BF16]),
        (NEEDED["bf16 too"], [FUSED, EAGER, OURS]),
        (NEEDED["fused"], [FUSED, EAGER]),
        (NEEDED["fused"] - 1, [EAGER]),
        (9000 + 8000 - 1, []),
    ],
)
def test_cases_that_do_not_fit_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch, free: int, kept: list[object]) -> None:
    monkeypatch.setattr(memory, "USABLE_SHARE", 1.0)
    monkeypatch.setattr(memory, "available_bytes", lambda device: free)
    cases = [FUSED, EAGER, OURS, OURS_BF16]
    fitting, left_out = fit(cases, STATES, [(1000,)], CPU, 1000)
    # The last three of float32 alone: the bfloat16 case may still fit where a larger one did not.
    assert [case for case in fitting if case is not OURS_BF16 or OURS_BF16 in kept] == kept
    assert len(fitting) + len(left_out) == len(cases)
    assert all(entry.why.startswith("too little memory: needs ") for entry in left_out)


def test_a_list_that_does_not_fit_is_not_built(monkeypatch: pytest.MonkeyPatch, settings: object) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 5_000)
    result = measure_list(TINY["first"], [FUSED, OURS], settings)  # type: ignore[arg-type]
    assert result.figures == [] and [entry.what for entry in result.left_out] == [FUSED.name, OURS.name]


def test_an_unknown_amount_of_memory_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: None)
    assert fit([FUSED, OURS], STATES, [(1 << 50,)], CPU, 0) == ([FUSED, OURS], [])


def test_lines_of_proc(tmp_path: Path) -> None:
    file = tmp_path / "status"
    file.write_text("VmRSSX:\t 1 kB\nVmRSS:\t     20 kB\n")
    assert read_kib(file, "VmRSS") == 20 * 1024
    assert read_kib(file, "VmHWM") is None and read_kib(tmp_path / "none", "VmRSS") is None


def test_available_memory_is_that_of_the_machine_or_less() -> None:
    free, total = available_bytes(CPU), read_kib(Path("/proc/meminfo"), "MemTotal")
    assert free is not None and total is not None and 0 < free < total


def test_the_growth_of_an_eager_step_is_its_random_tensor_and_of_an_in_place_one_nothing() -> None:
    tensors = make_tensors([(8 << 20,)], F32, CPU)  # 33.6 MB
    eager = EagerLangevin(wrap_params(tensors))
    eager.step()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        pytest.skip(f"this system does not let the peak of the resident memory be reset: {error}")
    grown = measure_growth(eager.step, CPU)
    assert grown is not None and 30 < grown < 45
    ours = OURS.make(wrap_params(tensors))
    ours.step()
    in_place = measure_growth(ours.step, CPU)
    assert in_place is not None and in_place < 4


def test_a_peak_that_cannot_be_reset_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> int:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "write_text", refuse)
    assert measure_growth(lambda: None, CPU) is None
