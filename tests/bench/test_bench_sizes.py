"""The table of bytes for a parameter: what it counts, and that the page holds what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from qlangevin import __main__ as main_module
from qlangevin import optim, reference_rules
from qlangevin.bench.measure import make_tensors, wrap_params
from qlangevin.bench.sizes import ROWS, STORAGES, Row, format_bytes, measure_bytes
from qlangevin.optim.base import LangevinOptimizer

PAGE = Path(__file__).parents[2] / "docs" / "memory.md"


def test_the_page_holds_the_table_that_is_counted_now(capsys: pytest.CaptureFixture[str]) -> None:
    table = format_bytes()
    assert f"\n\n{table}\n\n" in PAGE.read_text()
    assert main_module.main(["bytes"]) == 0
    assert capsys.readouterr().out == table + "\n"


@pytest.mark.parametrize("row", [row for row in ROWS if row.is_ours], ids=lambda row: row.name)
def test_the_bytes_are_those_of_the_rule_s_states(row: Row) -> None:
    stepper: Any = row.make(wrap_params(make_tensors([(2,)], torch.float32, torch.device("cpu"))), lr=1e-3, **row.options)
    states = len(reference_rules.RULES[stepper.rule_of(stepper.param_groups[0])].states)
    expected = {"fp32": 4 + 4 * states, "bf16": 2 + 2 * states, "fp16": 2 + 4 * states}
    expected |= {"bf16, fp32 states": 2 + 4 * states, "fp16, bf16 states": 2 + 2 * states}
    assert {storage.title: measure_bytes(row, storage) for storage in STORAGES} == expected


def test_every_optimizer_is_named() -> None:
    classes = {name for name, value in vars(optim).items() if isinstance(value, type) and issubclass(value, LangevinOptimizer)}
    assert len(classes) == 11
    named = {word.strip("`,") for row in ROWS if row.is_ours for word in row.name.split()}
    assert named - {"momentum", "or", "centered", "amsgrad"} == classes


def test_torch_s_states_have_the_type_of_the_weights_alone() -> None:
    adam = next(row for row in ROWS if row.make is torch.optim.AdamW)
    assert [measure_bytes(adam, storage) for storage in STORAGES] == [12.0, 6.0, None, 6.0, None]
