"""Arguments, exit codes, and what a run does with its weights."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from qlangevin.demo import report, train
from qlangevin.demo.images import DIGITS
from qlangevin.demo.report import Floor
from qlangevin.demo.studies import RUNS

Parse = Callable[[Sequence[str]], argparse.Namespace]
TINY = ["--limit", "64", "--epochs", "1", "--batch-size", "32"]
TORCH_ONLY = ["--runs", "sgd-fp32", "sgd-bf16-nearest"]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (["--epochs", "0"], "0 is not in"),
        (["--epochs", "x"], "'x' is not an integer"),
        (["--batch-size", "1"], "1 is not in"),
        (["--limit", "-5"], "-5 is not in"),
        (["--seed", "-1"], "-1 is not in"),
        (["--runs", "adam"], "invalid choice: 'adam'"),
        (["--tasks", "speech"], "invalid choice: 'speech'"),
        (["--text-steps", "0"], "0 is not in"),
        (["--text-seeds", "0"], "0 is not in"),
        (["--out", "picture.doc"], "does not end in .png"),
        (["--out", "no/such/folder/a.png"], "is not a folder"),
        (["--json", "."], "is a folder"),
        (["--checkpoint", "no/such/folder/a.pt"], "is not a folder"),
    ],
)
def test_wrong_arguments_are_named(parse: Parse, capsys: pytest.CaptureFixture[str], line: list[str], cause: str) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(line)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert cause in error and line[0] in error


def test_defaults(parse: Parse) -> None:
    args = parse([])
    assert args.runs == [run.name for run in RUNS] and args.out == Path("demo.png")
    assert args.epochs is None and args.checkpoint is None and not args.no_floors
    assert args.tasks == ("images", "text") and args.text is None and args.text_steps == 500 and args.text_seeds == 3


def test_run_writes_its_report_and_restores_the_threads(
    parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(2)
    assert train.run(parse([*TINY, *TORCH_ONLY, "--json", "demo.json", "--no-floors"])) == 0
    assert torch.get_num_threads() == 2
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    output = capsys.readouterr().out
    assert output.startswith("digits: 64 training and 297 test images of 1 x 8 x 8\n")
    assert "sgd-bf16-nearest" in output and "sgld" not in output and "adamw" not in output
    found = json.loads((tmp_path / "demo.json").read_text())
    assert set(found) == {"versions", "images"} and found["images"]["config"]["runs"] == TORCH_ONLY[1:]
    assert [run["bytes_per_param"] for run in found["images"]["runs"]] == [8.0, 4.0]
    assert [len(run["loss"]) for run in found["images"]["runs"]] == [2, 2]


def test_text_of_a_file_beside_images(parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "story.txt"
    source.write_text("once upon a time there was a gänse\n" * 400)
    out = ["--out", str(tmp_path / "demo.png"), "--json", str(tmp_path / "demo.json")]
    line = [*TINY, "--text", str(source), "--text-steps", "3", "--text-seeds", "2", "--runs", "sgd-fp32", "adamw-fp32", *out]
    assert train.run(parse([*line, "--no-floors"])) == 0
    output = capsys.readouterr().out
    assert "story.txt: 12,960 training and 1,440 validation bytes" in output and "3 epochs of 1 steps" in output
    assert "test accuracy (%)" in output and "validation loss (nats/byte)" in output and "of 2 seeds" in output
    runs = json.loads((tmp_path / "demo.json").read_text())["text"]["runs"]
    assert [(run["name"], run["seed"], len(run["validation_loss"])) for run in runs] == [
        ("adamw-fp32", 0, 3),
        ("adamw-fp32", 1, 3),
    ]
    assert train.run(parse([*line, "--tasks", "text"])) == 0, "a text of one's own has no floors"


def test_failed_floor_is_exit_code_1(
    parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [*TINY, "--runs", "sgd-fp32", "--out", str(tmp_path / "demo.png")]
    monkeypatch.setattr(report, "FLOORS", {DIGITS: (Floor("sgd-fp32", 1.01),)})
    assert train.run(parse(line)) == 1
    assert "FLOOR FAILED: sgd-fp32" in capsys.readouterr().out
    assert train.run(parse([*line, "--no-floors"])) == 0
    monkeypatch.setattr(report, "FLOORS", {DIGITS: (Floor("sgd-fp32", 0.0),)})
    assert train.run(parse(line)) == 0


def test_unusable_data_or_checkpoint_is_exit_code_2_before_anything_is_written(
    parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo.png"
    out.write_text("old")
    checkpoint = tmp_path / "demo.pt"
    checkpoint.write_text("no checkpoint")
    text = tmp_path / "short.txt"
    text.write_text("short")
    for line, cause in (
        (["--data-dir", str(tmp_path)], f"--data-dir {tmp_path} holds neither"),
        (["--limit", "10"], "10 training images are less than one batch of 64"),
        (["--text", str(tmp_path / "none.txt"), "--checkpoint", str(tmp_path / "new.pt")], "cannot read"),
        (["--text", str(text)], f"--text {text} holds 5 bytes"),
        (["--tasks", "text", "--runs", "sgd-fp32"], "--tasks text has none of --runs sgd-fp32"),
        (["--checkpoint", str(checkpoint)], f"checkpoint {checkpoint} is truncated or corrupt"),
    ):
        assert train.run(parse([*line, "--out", str(out)])) == 2
        assert capsys.readouterr().err.startswith("error: " + cause)
    assert out.read_text() == "old" and checkpoint.read_text() == "no checkpoint"
    assert {path.name for path in tmp_path.iterdir()} == {"demo.png", "demo.pt", "short.txt"}


def test_missing_package_is_exit_code_2(
    parse: Parse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert train.run(parse(TINY)) == 2
    assert capsys.readouterr().err == "error: missing tqdm: pip install 'qlangevin[demo]'\n"


def test_importing_the_demo_imports_no_extra() -> None:
    # torch imports tqdm where it is installed, so the comparison starts after torch.
    code = (
        "import sys, torch; before = set(sys.modules); import qlangevin.demo.train; "
        "print([n for n in ('tqdm', 'matplotlib', 'sklearn') if n in set(sys.modules) - before])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
