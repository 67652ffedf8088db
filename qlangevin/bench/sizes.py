"""``python -m qlangevin bytes``: the bytes of weights and states for one parameter, of every optimizer and storage type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .. import optim
from .cases import Stepper
from .measure import PROBE_ELEMENTS, count_state_bytes, make_tensors, wrap_params

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16


@dataclass(frozen=True)
class Storage:
    """A column: the type of the weights, and that of the states, None for what the optimizer chooses."""

    title: str
    param: torch.dtype
    state: torch.dtype | None = None


@dataclass(frozen=True)
class Row:
    """An optimizer with the options that decide which states it keeps."""

    name: str
    make: Callable[..., Stepper]
    options: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether the type of its states can be chosen."""
        return self.make.__module__.startswith("qlangevin.")


STORAGES = (
    Storage("fp32", F32),
    Storage("bf16", BF16),
    Storage("bf16, fp32 states", BF16, F32),
    Storage("fp16", F16),
    Storage("fp16, bf16 states", F16, BF16),
)
_QUANTIZED: dict[str, Any] = {"update_quantizer": None, "compensation": None}
ROWS = (
    Row("`torch.optim.SGD`", torch.optim.SGD, {}),
    Row("`torch.optim.SGD`, momentum", torch.optim.SGD, {"momentum": 0.9}),
    Row("`torch.optim.RMSprop`", torch.optim.RMSprop, {}),
    Row("`torch.optim.RMSprop`, momentum or centered", torch.optim.RMSprop, {"momentum": 0.9}),
    Row("`torch.optim.RMSprop`, momentum, centered", torch.optim.RMSprop, {"momentum": 0.9, "centered": True}),
    Row("`torch.optim.Adagrad`", torch.optim.Adagrad, {}),
    Row("`torch.optim.Adadelta`", torch.optim.Adadelta, {}),
    Row("`torch.optim.Adam`, `AdamW`", torch.optim.AdamW, {}),
    Row("`torch.optim.Adam`, `AdamW`, amsgrad", torch.optim.AdamW, {"amsgrad": True}),
    Row("`SGLD`", optim.SGLD, {"temperature": 1.0}),
    Row("`SGLD`, momentum", optim.SGLD, {"temperature": 1.0, "momentum": 0.9}),
    Row("`SGHMC`", optim.SGHMC, {"temperature": 1.0}),
    Row("`CoolMomentum`", optim.CoolMomentum, {"momentum": 0.9}),
    Row("`QuantizedSGD`", optim.QuantizedSGD, _QUANTIZED),
    Row("`QuantizedSGD`, momentum", optim.QuantizedSGD, {**_QUANTIZED, "momentum": 0.9}),
    Row("`LangevinRMSprop`", optim.LangevinRMSprop, {"temperature": 1.0}),
    Row("`LangevinRMSprop`, momentum or centered", optim.LangevinRMSprop, {"temperature": 1.0, "centered": True}),
    Row("`LangevinRMSprop`, momentum, centered", optim.LangevinRMSprop, {"temperature": 1.0, "momentum": 0.9, "centered": True}),
    Row("`LangevinAdagrad`", optim.LangevinAdagrad, {"temperature": 1.0}),
    Row("`LangevinAdadelta`", optim.LangevinAdadelta, {"temperature": 1.0}),
    Row("`LangevinAdam`, `LangevinAdamW`", optim.LangevinAdamW, {"temperature": 1.0}),
    Row("`LangevinAdam`, `LangevinAdamW`, amsgrad", optim.LangevinAdamW, {"temperature": 1.0, "amsgrad": True}),
    Row("`QuantizedAdam`, `QuantizedAdamW`", optim.QuantizedAdamW, _QUANTIZED),
    Row("`QuantizedAdam`, `QuantizedAdamW`, amsgrad", optim.QuantizedAdamW, {**_QUANTIZED, "amsgrad": True}),
)


def measure_bytes(row: Row, storage: Storage) -> float | None:
    """Bytes of weight and states for one parameter after a step, step counters apart; None: its states' type is not chosen."""
    if storage.state is not None and not row.is_ours:
        return None
    chosen = {} if storage.state is None else {"state_dtype": storage.state}
    params = wrap_params(make_tensors([(PROBE_ELEMENTS,)], storage.param, torch.device("cpu")))
    stepper = row.make(params, lr=1e-3, **row.options, **chosen)
    stepper.step()
    return storage.param.itemsize + count_state_bytes(stepper) / PROBE_ELEMENTS


def format_bytes() -> str:
    """The table in Markdown."""
    lines = [("optimizer", *(storage.title for storage in STORAGES))]
    for row in ROWS:
        sizes = [measure_bytes(row, storage) for storage in STORAGES]
        lines.append((row.name, *("" if size is None else f"{size:g}" for size in sizes)))
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    cells = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])
