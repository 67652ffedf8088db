"""What each hyper-parameter must refuse, with words that the message must hold beside the field's name and the value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Wrong:
    """One row: field, value, and the range as the message tells it. options: what else the group needs."""

    field: str
    value: Any
    told: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.field}={str(self.value)[:40]}"


def reals(low: str = "[0", high: str = "inf)") -> dict[Any, str]:
    return dict.fromkeys((-1.0, -1e-300, NAN, INF, -INF, "0.1", 0.1j, True, (0.1,)), f"{low}, {high}")


ROWS: list[Wrong] = []
for _field in ("lr", "temperature", "weight_decay"):
    ROWS += [Wrong(_field, value, told) for value, told in reals().items()]
    ROWS += [Wrong(_field, None, "[0, inf)"), Wrong(_field, [0.1], "[0, inf)"), Wrong(_field, 10**400, "[0, inf)")]
    ROWS += [Wrong(_field, torch.tensor(value), "[0, inf)") for value in (-1.0, NAN, INF, 1j, True)]
    ROWS += [Wrong(_field, torch.tensor([0.1, 0.2]), "[0, inf)"), Wrong(_field, torch.tensor([0.1]), "[0, inf)")]
for _field in ("momentum", "dampening"):
    _options = (("momentum", 0.5),) if _field == "dampening" else ()
    ROWS += [Wrong(_field, value, told, _options) for value, told in reals(high="1)").items()]
    ROWS += [
        Wrong(_field, value, "[0, 1)", _options) for value in (1.0, 1, 2.0, None, torch.tensor(1.0), torch.tensor([0.1, 0.2]))
    ]
ROWS += [Wrong("max_grad_norm", value, told) for value, told in reals("(0").items()]
ROWS += [Wrong("max_grad_norm", value, "(0, inf)") for value in (0.0, 0, torch.tensor(0.0))]
ROWS += [Wrong("lr", lambda step: 0.1, "[0, inf)"), Wrong("weight_decay", lambda step: 0.1, "[0, inf)")]
for _field in ("nesterov", "decoupled_weight_decay", "maximize", "capturable"):
    ROWS += [Wrong(_field, value, "True or False") for value in (1, 0, None, "yes", torch.tensor(True))]
ROWS += [Wrong("noise", v, "gaussian, uniform, rademacher") for v in ("normal", "Gaussian", "", None, 1, True, ["gaussian"])]
ROWS += [Wrong("tail_index", v, "(1, 2]") for v in (1, 1.0, 0.0, -1.5, 2.0001, 10**400, NAN, INF, "1.5", True, [1.5], 1.5j)]
ROWS += [Wrong("tail_index", torch.tensor(v), "(1, 2]") for v in (1.0, 2.5, NAN, [1.5])]
ROWS += [Wrong("noise_on", v, "parameter names") for v in ("p0", 1, True, ("p0", 1), {"p0": 1}, {"p0"}, object)]
for _field in ("param_rounding", "state_rounding"):
    ROWS += [Wrong(_field, value, "auto, stochastic, nearest") for value in ("up", "floor", None, True, 0)]
for _field in ("grad_quantizer", "update_quantizer"):
    ROWS += [Wrong(_field, value, "Grid") for value in (64, 64.0, "nearest", True, (64, "nearest"), object)]
for _value in (-1, 1.0, NAN, "7", True, torch.tensor(7), (7,)):
    ROWS += [Wrong("seed", _value, "[0, 2^64)"), Wrong("chain", _value, "[0, 2^32)")]
ROWS += [Wrong("seed", 2**64, "[0, 2^64)"), Wrong("chain", 2**32, "[0, 2^32)"), Wrong("chain", None, "[0, 2^32)")]
for _value in (torch.float16, torch.float64, torch.int32, "float32", float, 32):
    ROWS += [Wrong("state_dtype", _value, "torch.float32, torch.bfloat16 or None")]

LEVY = {"noise": "levy", "tail_index": 1.5}
# Two values that are right alone.
COMBINATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "dampening above temperature 0": ({"temperature": 1.0, "momentum": 0.9, "dampening": 0.5}, "dampening"),
    "dampening with a schedule": ({"temperature": lambda step: 1.0, "momentum": 0.9, "dampening": 0.5}, "dampening"),
    "dampening with a tensor": ({"temperature": torch.tensor(1.0), "momentum": 0.9, "dampening": 0.5}, "dampening"),
    "nesterov above temperature 0": ({"temperature": 1e-9, "momentum": 0.9, "nesterov": True}, "nesterov"),
    "nesterov without momentum": ({"nesterov": True}, "nesterov"),
    "Levy noise without a tail index": ({"noise": "levy"}, "needs a tail_index in"),
    "a tail index of Gaussian noise": ({"tail_index": 1.5}, "tail_index = 1.5 goes with noise = 'levy'"),
    "Levy noise with momentum": ({**LEVY, "momentum": 0.5}, "levy.*needs momentum = 0"),
    "Levy noise with a schedule of momentum": ({**LEVY, "momentum": lambda step: 0.0}, "levy.*needs momentum = 0"),
    "averaged Levy noise": ({**LEVY, "integrator": "leimkuhler_matthews"}, "levy.*integrator"),
    "corrected rounding of Levy noise": ({**LEVY, "param_rounding": "variance_corrected"}, "levy.*variance_corrected"),
    "Levy noise in a graph": ({**LEVY, "capturable": True}, "levy.*capturable"),
    "nesterov with dampening": ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov"),
}

# Arguments of quantizers.Grid.
GRIDS: list[tuple[tuple[Any, ...], str]] = [
    *(((value,), "resolution") for value in (0, 0.0, -1, NAN, -INF, None, "64", True, 1j, (64,), 10**400)),
    *(((64, value), "nearest, stochastic, floor, dither") for value in ("up", "auto", None, True, 0, ["nearest"])),
]

# Arguments of quantizers.BlockGrid.
BLOCK_GRIDS: list[tuple[tuple[Any, ...], str]] = [
    *(((value,), "bits must be an integer in [3, 23]") for value in (2, 24, 0, -8, 8.0, NAN, None, "8", True)),
    *(((8, value), "nearest, stochastic, floor, dither") for value in ("up", "noise", "auto", None, True, ["nearest"])),
]
