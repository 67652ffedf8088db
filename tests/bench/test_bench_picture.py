"""The picture, and the origin of the figures."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
import torch

import qlangevin
from qlangevin.bench import machine as machine_module
from qlangevin.bench.machine import OtherWork, describe_machine, find_commit
from qlangevin.bench.measure import Figures, ListResult, Spread
from qlangevin.bench.picture import choose_limit, draw, format_ms, place_bars
from qlangevin.bench.report import Report, format_machine
from tests.tolerances import bound

from .conftest import EAGER, FUSED, OURS, OURS_BF16, TINY

CPU = torch.device("cpu")


def make_result(name: str) -> ListResult:
    result = ListResult(TINY[name], 2, 20.0)
    for ms, case in enumerate((FUSED, OURS_BF16, EAGER, OURS), 2):
        result.figures.append(Figures(case, Spread(ms, ms / 2, 2.0 * ms), 1.0, 0.5, 1.0, 8.0, None))
    return result


def test_bars_are_grouped_by_dtype_below_their_titles() -> None:
    bars, titles = place_bars(make_result("first"))
    assert [figures.case for _, figures in bars] == [FUSED, EAGER, OURS, OURS_BF16]
    heights = [height for height, _ in bars]
    assert heights == sorted(heights) and min(b - a for a, b in itertools.pairwise(heights)) >= 1
    assert [title for _, title in titles] == ["float32", "bfloat16"]
    assert titles[0][0] < heights[0] and heights[2] + 1 <= titles[1][0] <= heights[3] - 1


def test_only_eager_loops_that_are_much_slower_are_cut(tmp_path: Path) -> None:
    result = make_result("first")
    assert choose_limit(result) == 2.0 * 5
    result.figures[2] = Figures(EAGER, Spread(90.0, 80.0, 100.0), 1.0, 0.5, 1.0, 8.0, None)
    assert choose_limit(result) == pytest.approx(1.15 * 10, rel=bound("closed_form"))
    draw(Report(describe_machine(CPU), [result]), tmp_path / "a.svg")
    assert "<!-- 90.0 ms, speed 0.02: bar cut -->" in (tmp_path / "a.svg").read_text()
    result.figures[3] = Figures(OURS, Spread(90.0, 80.0, 100.0), 1.0, 0.5, 1.0, 8.0, None)
    assert choose_limit(result) == 100.0


def test_milliseconds_have_three_digits() -> None:
    assert [format_ms(ms) for ms in (0.123, 9.994, 12.34, 1234.5)] == ["0.12 ms", "9.99 ms", "12.3 ms", "1234 ms"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("names", [["first"], ["first", "second"], ["first", "second", "first"]])
def test_a_picture_holds_every_case_and_the_origin(tmp_path: Path, suffix: str, names: list[str]) -> None:
    path = tmp_path / f"a{suffix}"
    report = Report(describe_machine(CPU), [*map(make_result, names), ListResult(TINY["second"])])
    draw(report, path)
    content = path.read_bytes()
    assert content.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    if suffix == ".svg":
        text = content.decode()
        for words in ("2.00 ms, speed 1.00", "4.00 ms, speed 0.50", "3.00 ms", "bfloat16", "first: three vectors", OURS.name):
            assert f"<!-- {words} -->" in text, words
        assert qlangevin.__version__ in text


def test_the_machine_is_described_and_shown() -> None:
    machine = describe_machine(CPU)
    line = format_machine(machine)
    for name in ("cpu", "threads", "cpu_path", "torch", "python", "qlangevin", "numerics_version"):
        assert machine[name] not in (None, "") and str(machine[name]) in line, name


def test_cores_of_others_are_what_is_busy_beside_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, now, own = 100, 10.0, 3.0
    monkeypatch.setattr(machine_module.os, "sysconf", lambda name: ticks)
    monkeypatch.setattr(machine_module.time, "perf_counter", lambda: now)
    monkeypatch.setattr(machine_module.time, "process_time", lambda: own)
    lines = ["cpu  1000 10 200 9999 99 3 4 5 0 0\ncpu0 1 1", "cpu  1500 10 200 99999 999 3 4 105 0 0\ncpu0 1 1"]
    monkeypatch.setattr(Path, "read_text", lambda path: lines.pop(0))
    others = OtherWork()
    now, own = 14.0, 5.0
    # 5 s of users and 1 s stolen, 2 s of them ours, in 4 s.
    assert others.cores() == pytest.approx((5.0 + 1.0 - 2.0) / 4.0, rel=bound("closed_form"))
    monkeypatch.undo()
    real = OtherWork()
    assert real.used is not None and real.used > 0
    monkeypatch.setattr(Path, "read_text", lambda path: (_ for _ in ()).throw(OSError()))
    assert real.cores() is None


def test_the_commit_is_this_package_s_and_of_no_checkout_around_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert find_commit(tmp_path) is None, "no checkout"
    (tmp_path / "machine.py").write_text("1")
    (tmp_path / "other.py").write_text("1")
    git("init")
    git("add", "other.py")
    git("commit", "-m", "other")
    assert find_commit(tmp_path) is None, "a checkout that does not hold the file"
    git("add", "machine.py")
    git("commit", "-m", "machine")
    commit = git("rev-parse", "--short", "HEAD")
    assert find_commit(tmp_path) == commit
    (tmp_path / "other.py").write_text("2")
    assert find_commit(tmp_path) == f"{commit}+changes"
