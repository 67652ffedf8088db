"""What is timed over the large list: one row an optimizer, with the row of torch's that moves the same bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_

from qlangevin import SGLD, CoolMomentum, QuantizedSGD
from qlangevin.bench.cases import (
    BF16,
    COMPENSATED,
    COOL,
    F32,
    LR,
    NEAREST_GRID,
    PLAIN,
    QUANTIZED,
    SR,
    STILL,
    STOCHASTIC_GRID,
    WARM,
    Case,
    EagerLangevin,
    Make,
    measured,
    ours,
    torch_sgd,
)

LIMIT = 1.0  # of the clipped norm


@dataclass(frozen=True)
class Row:
    """One optimizer.

    Args:
        case: its name, dtype and how it is made.
        twin: the row that its time is compared with; "" for none.
        goal: time over the twin's, at most; None for none.
        kernel, path: in the table of instructions; "" where it has none.
        again: how often each element's gradient, or gradient and states, are read once more: "", "grad", "all".
        bounded: whether it is to reach 90 % of the bound.
    """

    case: Case
    twin: str = ""
    goal: float | None = None
    kernel: str = ""
    path: str = ""
    again: str = ""
    bounded: bool = False


class TorchClipped:
    """Clipping as users of torch.optim have it: two calls."""

    def __init__(self, params: list[Parameter]) -> None:
        self.params = params
        self.optimizer = torch.optim.SGD(params, lr=LR, momentum=0.9, fused=True)
        self.state = self.optimizer.state

    def step(self) -> None:
        clip_grad_norm_(self.params, LIMIT)
        self.optimizer.step()


def torch_adamw(params: list[Parameter]) -> torch.optim.AdamW:
    """torch.optim.AdamW, fused."""
    return torch.optim.AdamW(params, lr=LR, fused=True)


def list_rows(dtype: torch.dtype, backend: str | None = None) -> list[Row]:
    """The rows of a dtype; in bfloat16 with stochastic rounding wherever there is noise. backend: of ours, if one is named."""
    name = short_name(dtype)
    kernels = {"momentum": "momentum " + "/".join([long_name(dtype)] * 3), "plain": "plain " + "/".join([long_name(dtype)] * 2)}
    on = SR if dtype == BF16 else {}
    no_sgd = Case(f"{name} torch SGD fused", dtype, lambda params: torch.optim.SGD(params, lr=LR, fused=True), "torch")
    sgd = Case(f"{name} torch SGD momentum fused", dtype, torch_sgd(fused=True), "torch")
    clipped = Case(f"{name} torch clip_grad_norm_ + SGD momentum fused", dtype, TorchClipped, "torch")
    eager = Case(f"{name} eager Langevin loop", dtype, EagerLangevin, "eager")
    rows = [Row(no_sgd), Row(sgd), Row(clipped), Row(Case(f"{name} torch AdamW fused", dtype, torch_adamw, "torch")), Row(eager)]
    for rule, twin, cold, warm in (
        ("plain", no_sgd.name, {**PLAIN, "temperature": 0.0}, {**PLAIN, **on}),
        ("momentum", sgd.name, STILL, {**WARM, **on}),
    ):
        kernel = kernels[rule]
        for what, options, path in (
            ("", cold, "plain"),
            (" + noise", warm, "everything"),
            (" + noise + nearest grid", {**warm, **NEAREST_GRID}, "everything, update nearest"),
            (" + noise + stochastic grid", {**warm, **STOCHASTIC_GRID}, "everything, update stochastic"),
        ):
            goal = 1.0 if "grid" not in what else None
            rows.append(
                Row(Case(f"{name} {rule}{what}", dtype, ours(SGLD, backend, **options)), twin, goal, kernel, path, bounded=True)
            )
    extra: list[tuple[str, Make, str, float | None, str]] = [
        ("CoolMomentum", ours(CoolMomentum, backend, **{**COOL, **on}), sgd.name, None, ""),
        ("QuantizedSGD momentum", ours(QuantizedSGD, backend, **{**QUANTIZED, **on}), sgd.name, None, ""),
        (
            "momentum + compensation",
            ours(QuantizedSGD, backend, **{**COMPENSATED, **on}),
            f"{name} QuantizedSGD momentum",
            None,
            "all",
        ),
        ("momentum + noise + metrics", measured(ours(SGLD, backend, **{**WARM, **on})), f"{name} momentum + noise", None, ""),
        ("momentum + clipping", ours(SGLD, backend, **STILL, max_grad_norm=LIMIT), clipped.name, 1.0, "grad"),
    ]
    rows += [Row(Case(f"{name} {what}", dtype, make), twin, goal, again=again) for what, make, twin, goal, again in extra]
    return rows


def short_name(dtype: torch.dtype) -> str:
    """As rows are called."""
    return {F32: "float32", BF16: "bf16"}[dtype]


def long_name(dtype: torch.dtype) -> str:
    """As the table of instructions names it."""
    return str(dtype).removeprefix("torch.")
