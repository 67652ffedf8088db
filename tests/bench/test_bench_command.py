"""Arguments, exit codes, what is printed and written, and what an interruption leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qlangevin import __main__ as main_module
from qlangevin import selftest
from qlangevin.bench import command, memory
from qlangevin.bench.cases import CASES, F32, Case, EagerLangevin
from qlangevin.bench.measure import Figures, ListResult, Spread
from qlangevin.bench.report import Report, format_list, format_row, write_json
from qlangevin.bench.shapes import LISTS

from .conftest import EAGER, FUSED, OURS, TINY, TINY_CASES, Parse


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (["--lists", "huge"], "invalid choice: 'huge' (choose from "),
        (["--device", "tpu"], "invalid choice: 'tpu' (choose from "),
        (["--rounds", "0"], "0 is not in [1,"),
        (["--rounds", "x"], "'x' is not an integer"),
        (["--threads", "-1"], "-1 is not in [1,"),
        (["--json", "no/such/folder/a.json"], "no/such/folder is not a folder"),
        (["--json", "."], ". is a folder"),
        (["--plot", "picture.doc"], "does not end in .png, .svg, .pdf"),
    ],
)
def test_wrong_arguments_are_named(parse: Parse, capsys: pytest.CaptureFixture[str], line: list[str], cause: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(line)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert cause in error and line[0] in error
    assert line[0] != "--lists" or all(name in error for name in LISTS)


@pytest.fixture
def nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise AssertionError("the measuring has begun")

    monkeypatch.setattr(command, "admit", fail)
    monkeypatch.setattr(command, "measure_list", fail)


@pytest.mark.usefixtures("nothing_is_timed")
def test_what_is_not_here_is_an_error_before_anything_is_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main_module.main(["bench", "--cases", "lion"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --cases 'lion' is in no case's name") and all(case.name in error for case in CASES)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main_module.main(["bench", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "error: --device cuda: torch finds no CUDA device; valid here: cpu\n"
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main_module.main(["bench", "--plot", "a.png"]) == 2
    assert capsys.readouterr().err == "error: --plot needs matplotlib: pip install 'qlangevin[demo]'\n"
    monkeypatch.setenv("QLANGEVIN_CPU", "abacus")
    assert main_module.main(["bench"]) == 2
    assert "QLANGEVIN_CPU must be one of auto" in capsys.readouterr().err


def test_cases_are_chosen_by_words() -> None:
    assert command.choose_cases(None) == list(CASES)
    assert [case.name for case in command.choose_cases(["FUSED", "torch SGD fused"])] == [
        "torch SGD fused",
        "torch AdamW fused",
        "torch SGD fused bf16",
        "torch AdamW fused bf16",
    ]


@pytest.mark.usefixtures("tiny")
def test_a_run_prints_tables_writes_json_and_restores_the_threads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, threads = tmp_path / "a.json", torch.get_num_threads()
    assert main_module.main(["bench", "--rounds", "2", "--threads", "1", "--json", str(file)]) == 0
    assert torch.get_num_threads() == threads
    output = capsys.readouterr().out
    assert "first (three vectors): 3 tensors, 120 elements; 2 rounds; copy " in output
    assert "x torch" in output and "GB/s: bytes that the step must move" in output
    found = json.loads(file.read_text())
    assert found["complete"] is True and list(found["lists"]) == ["first", "second"]
    assert list(found["lists"]["first"]["cases"]) == [case.name for case in TINY_CASES]
    assert {"cpu", "threads", "cpu_path", "torch", "python", "qlangevin", "numerics_version", "commit"} <= set(found["machine"])
    assert found["machine"]["threads"] == 1 and found["machine"]["cpu_path"] in ("avx512", "avx2", "portable")
    ours = found["lists"]["first"]["cases"]["ours bf16"]
    assert ours["dtype"] == "bfloat16" and ours["bytes_per_param"] == 6.0 and ours["family"] == "qlangevin"
    assert 0 < ours["ms"]["low"] <= ours["ms"]["median"] <= ours["ms"]["high"]


def make_figures(case: Case, ms: float, temporaries: float | None = 0.0) -> Figures:
    return Figures(case, Spread(ms, ms / 2, ms * 2), 12.34, 0.567, 1.5, 12.0, temporaries)


def test_a_row_of_the_table() -> None:
    result = ListResult(TINY["first"], 2, 20.0, None, [make_figures(FUSED, 3.0), make_figures(OURS, 1.5, None)])
    cells = ("ours", "1.500", "0.750 - 3.000", "2.00", "12.3", "57 %", "1.50", "12.00", "not measured")
    assert format_row(result, result.figures[1]) == cells
    # Its own kind alone is what a row stands beside.
    adam = Case("adam", F32, OURS.make, beside="torch AdamW fused")
    rows = [*result.figures, make_figures(adam, 1.0), make_figures(replace(FUSED, name="torch AdamW fused"), 4.0)]
    assert format_row(ListResult(TINY["first"], 2, 20.0, None, rows), rows[2])[3] == "4.00"
    assert format_row(result, make_figures(adam, 1.0))[3] == "-"
    alone = ListResult(TINY["first"], 2, 20.0, None, result.figures[1:])
    assert format_row(alone, alone.figures[0])[3] == "-"
    lines = format_list(result).splitlines()
    assert len({len(line) for line in lines[1:]}) == 1, "the columns are aligned"


@pytest.mark.parametrize(("cores", "noisy"), [(None, False), (0.05, False), (1.25, True)])
def test_work_of_others_is_said_below_the_table(cores: float | None, noisy: bool) -> None:
    result = ListResult(TINY["first"], 2, 20.0, cores, [make_figures(FUSED, 3.0)])
    assert ("NOISY: other processes used 1.2 cores" in format_list(result)) == noisy


@pytest.mark.usefixtures("tiny")
def test_an_interruption_keeps_the_finished_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = command.measure_list

    def interrupt_second(tensors: Any, *rest: Any) -> ListResult:
        if tensors.name == "second":
            raise KeyboardInterrupt
        return measured(tensors, *rest)

    monkeypatch.setattr(command, "measure_list", interrupt_second)
    file = tmp_path / "a.json"
    assert main_module.main(["bench", "--rounds", "1", "--json", str(file)]) == 130
    captured = capsys.readouterr()
    assert "first (three vectors)" in captured.out and "interrupted; finished lists: first" in captured.err
    found = json.loads(file.read_text())
    assert found["complete"] is False and list(found["lists"]) == ["first"] and found["lists"]["first"]["cases"]


@pytest.mark.usefixtures("tiny")
def test_a_list_that_fails_is_said_and_the_next_one_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = command.measure_list

    def fail_first(tensors: Any, *rest: Any) -> ListResult:
        if tensors.name == "first":
            raise MemoryError("not enough memory")
        return measured(tensors, *rest)

    monkeypatch.setattr(command, "measure_list", fail_first)
    file = tmp_path / "a.json"
    assert main_module.main(["bench", "--rounds", "1", "--json", str(file)]) == 1
    assert "FAILED: list first: MemoryError: not enough memory" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert list(found["lists"]) == ["second"] and found["failed"][0]["what"] == "list first"


@pytest.mark.usefixtures("tiny")
def test_a_case_that_fails_is_said_and_the_others_are_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(EagerLangevin):
        def step(self) -> None:
            raise RuntimeError("bad kernel")

    monkeypatch.setattr(command, "CASES", (Case("broken", F32, Broken, "eager"), EAGER))
    assert main_module.main(["bench", "--rounds", "1"]) == 1
    output = capsys.readouterr().out
    assert "FAILED: broken: its step fails: RuntimeError: bad kernel" in output and "\n  eager loop " in output


@pytest.mark.usefixtures("tiny")
def test_a_red_self_test_is_exit_code_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "check_backend", lambda *asked: {"golden": False})
    assert main_module.main(["bench", "--rounds", "1"]) == 1
    output = capsys.readouterr().out
    assert "left out: 2 cases of qlangevin: backend native fails its self-test (golden)" in output
    assert "\n  ours" not in output and "\n  eager loop " in output


@pytest.mark.usefixtures("tiny")
def test_too_little_memory_is_said_and_nothing_timed_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 100)
    assert main_module.main(["bench", "--rounds", "1"]) == 1
    output = capsys.readouterr().out
    assert output.count("too little memory") == 2 * len(TINY_CASES) and output.count("nothing was timed") == 2


@pytest.mark.usefixtures("tiny")
def test_a_json_file_that_cannot_be_written_any_more_does_not_stop_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(command, "write_json", refuse)
    assert main_module.main(["bench", "--rounds", "1", "--json", str(tmp_path / "a.json")]) == 0
    captured = capsys.readouterr()
    assert "second (two vectors)" in captured.out and "disk full" in captured.err


def test_writing_replaces_the_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")
    report = Report({"cpu": "x"})
    monkeypatch.setattr(Path, "write_text", lambda path, text: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_json(file, report)
    monkeypatch.undo()
    assert file.read_text() == "old"
    write_json(file, replace(report, complete=True))
    assert json.loads(file.read_text())["complete"] is True and list(tmp_path.iterdir()) == [file]


def test_importing_the_command_imports_no_extra() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import qlangevin.bench.command; "
        "print([n for n in ('matplotlib', 'bitsandbytes', 'torch_sgld') if n in set(sys.modules) - before])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
