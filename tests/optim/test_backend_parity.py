"""Native = reference through the optimizer, over configurations that hypothesis draws, with the other backends poisoned.

QLANGEVIN_FULL=1 draws 2,000 of them instead of 150 for SGLD, and shares of that for the others; Triton's interpreter takes 15.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import Parameter

from qlangevin import SGLD, CoolMomentum, QuantizedSGD, quantizers, schedules
from qlangevin.backends.device import is_interpreting
from qlangevin.optim.base import LangevinOptimizer

from .launches import Launches, only_native, only_reference
from .layouts import DENSE
from .problems import draw
from .snapshots import assert_same

EXAMPLES = 2_000 if os.environ.get("QLANGEVIN_FULL") == "1" else 15 if is_interpreting() else 150
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
STEPS = 3


@dataclass(frozen=True)
class TensorSpec:
    """One parameter: its layout, or a flat size; its dtypes; in which steps it has a gradient."""

    layout: str | int
    dtype: torch.dtype
    grad_dtype: torch.dtype
    steps: frozenset[int]
    group: int


@dataclass(frozen=True)
class Configuration:
    """An optimizer and what it steps; groups are their options, `shared` the optimizer's."""

    kind: type[LangevinOptimizer]
    tensors: tuple[TensorSpec, ...]
    groups: tuple[dict[str, Any], ...]
    shared: dict[str, Any]
    measures: bool


GRIDS = st.one_of(
    st.none(),
    st.builds(
        quantizers.Grid,
        st.sampled_from([1.0, 64.0, 100.0, 2.0**20, float("inf"), schedules.Linear(8.0, 64.0, 4)]),
        st.sampled_from(quantizers.ROUNDINGS),
    ),
)
BLOCKS = st.builds(quantizers.BlockGrid, st.sampled_from([3, 8, 23]), st.sampled_from(quantizers.ROUNDINGS))
TENSORS = st.builds(
    TensorSpec,
    st.one_of(st.sampled_from([*DENSE]), st.integers(0, 70), st.sampled_from([4095, 16384, 16391])),
    st.sampled_from(DTYPES),
    st.sampled_from(DTYPES),
    st.frozensets(st.integers(1, STEPS), min_size=1),
    st.integers(0, 1),
)
ROUNDING = st.sampled_from(["auto", "stochastic", "nearest"])
NUMBERS = {
    "lr": st.sampled_from([0.0, 1e-3, 0.1, 3.0]),
    "weight_decay": st.sampled_from([0.0, 0.1]),
    "decoupled_weight_decay": st.booleans(),
    "grad_quantizer": st.one_of(GRIDS, BLOCKS),
    "update_quantizer": GRIDS,
    "noise": st.sampled_from(["gaussian", "uniform", "rademacher"]),
    "param_rounding": ROUNDING,
    "state_rounding": ROUNDING,
    "state_dtype": st.sampled_from([None, torch.float32, torch.bfloat16]),
    "max_grad_norm": st.sampled_from([None, None, 0.5, 1e3]),
    "maximize": st.booleans(),
}
MOMENTA = st.sampled_from([0.0, 0.9, schedules.Piecewise((1,), (0.0, 0.5))])
TEMPERATURES = st.sampled_from([0.0, 1e-3, 1.0, schedules.Linear(1.0, 0.0, STEPS)])
HOT = st.fixed_dictionaries({**NUMBERS, "momentum": MOMENTA, "temperature": TEMPERATURES})
COLD: Any = st.one_of(
    st.fixed_dictionaries({**NUMBERS, "momentum": st.just(0.9), "temperature": st.just(0.0), "dampening": st.just(0.3)}),
    st.fixed_dictionaries({**NUMBERS, "momentum": st.just(0.9), "temperature": st.just(0.0), "nesterov": st.just(True)}),
)
ADAPTIVE = st.builds(
    quantizers.Grid,
    st.sampled_from([quantizers.AdaptiveResolution(), quantizers.AdaptiveResolution(1, start=-2, limit=20)]),
    st.sampled_from(quantizers.ROUNDINGS),
)
COOLINGS = st.sampled_from([0.0, 0.9, schedules.Cooling(STEPS), schedules.Cooling(9, 0.9, "linear", warmup_steps=1)])
COOL = st.fixed_dictionaries(
    {**NUMBERS, "momentum": COOLINGS, "temperature": TEMPERATURES, "update_quantizer": st.one_of(GRIDS, ADAPTIVE)}
)
PUBLISHED = st.builds(
    quantizers.Grid,
    st.sampled_from([64.0, quantizers.LogResolution(1, scale=64.0), quantizers.AdaptiveResolution()]),
    st.sampled_from((*quantizers.ROUNDINGS, quantizers.NOISE)),
)
COMPENSATIONS = st.one_of(
    st.none(),
    st.builds(
        quantizers.Compensation,
        st.sampled_from([0.0, 1.5]),
        st.just(1),
        envelope=st.sampled_from(["tanh", "sigmoid"]),
        norm=st.sampled_from(["tensor", "global"]),
    ),
)
QUANTIZED = st.fixed_dictionaries(
    {**NUMBERS, "momentum": MOMENTA, "update_quantizer": st.one_of(GRIDS, ADAPTIVE, PUBLISHED), "compensation": COMPENSATIONS}
)
CALIBRATED = st.fixed_dictionaries(
    {
        **NUMBERS,
        "momentum": MOMENTA,
        "temperature": TEMPERATURES,
        "update_quantizer": st.builds(
            quantizers.Grid,
            st.just(quantizers.CalibratedResolution()),
            st.sampled_from((*quantizers.ROUNDINGS, quantizers.NOISE)),
        ),
        "compensation": COMPENSATIONS,
    }
)
NEEDED: dict[type[LangevinOptimizer], dict[str, Any]] = {
    SGLD: {"temperature": 0.0},
    CoolMomentum: {"momentum": 0.0},
    QuantizedSGD: {"update_quantizer": None, "compensation": None},
}
GROUPS: dict[type[LangevinOptimizer], Any] = {
    SGLD: st.one_of(HOT, COLD),
    CoolMomentum: COOL,
    QuantizedSGD: st.one_of(QUANTIZED, CALIBRATED),
}


def draw_configurations(kind: type[LangevinOptimizer]) -> st.SearchStrategy[Configuration]:
    return st.builds(
        Configuration,
        st.just(kind),
        st.lists(TENSORS, min_size=1, max_size=5).map(tuple),
        st.tuples(GROUPS[kind], GROUPS[kind]),
        st.fixed_dictionaries({"seed": st.integers(0, 2**64 - 1), "chain": st.integers(0, 2**32 - 1)}),
        st.booleans(),
    )


def make(spec: TensorSpec, name: str, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(spec.layout, int):
        return draw(name, (spec.layout,), dtype)
    shape, lay_out = DENSE[spec.layout]
    return lay_out(draw(name, shape, dtype))


def run(configuration: Configuration, backend: str) -> tuple[dict[str, torch.Tensor], int]:
    """The parameters and states after all steps, and how many launches they need at least."""
    params = [Parameter(make(spec, f"start {i}", spec.dtype)) for i, spec in enumerate(configuration.tensors)]
    for param, spec in zip(params, configuration.tensors, strict=True):
        param.grad_dtype = spec.grad_dtype
    members = [[(f"t{i}", params[i]) for i, s in enumerate(configuration.tensors) if s.group == group] for group in (0, 1)]
    groups = [{"params": some, **options} for some, options in zip(members, configuration.groups, strict=True) if some]
    kind: Any = configuration.kind
    optimizer = kind(groups, 0.1, backend=backend, **NEEDED[kind], **configuration.shared)
    optimizer.collect_metrics(configuration.measures)
    steps_with_grads = 0
    for step in range(1, STEPS + 1):
        for i, (param, spec) in enumerate(zip(params, configuration.tensors, strict=True)):
            param.grad = make(spec, f"grad {i} {step}", spec.grad_dtype) if step in spec.steps else None
        steps_with_grads += any(param.grad is not None and param.numel() > 0 for param in params)
        optimizer.step()
    found = {f"t{i}": param.detach() for i, param in enumerate(params)}
    for i, param in enumerate(params):
        found.update({f"t{i}/{key}": value for key, value in optimizer.state[param].items()})
    for i, group in enumerate(optimizer.param_groups):
        found[f"group {i}/exponent"] = torch.tensor(group.get("resolution_exponent", 999))
    return found, steps_with_grads


def check(configuration: Configuration) -> None:
    launches: Launches
    with only_native() as launches:
        native, steps = run(configuration, "native")
    assert launches.count >= steps, "steps without a launch"
    with only_reference():
        reference, _ = run(configuration, "reference")
    assert_same(native, reference)


def draw_examples(share: float) -> settings:
    return settings(
        max_examples=int(EXAMPLES * share),
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@draw_examples(1.0)
@given(draw_configurations(SGLD))
def test_native_equals_reference_through_the_optimizer(configuration: Configuration) -> None:
    check(configuration)


@draw_examples(0.4)
@given(draw_configurations(CoolMomentum))
def test_native_equals_reference_through_cool_momentum(configuration: Configuration) -> None:
    check(configuration)


@draw_examples(0.8)
@given(draw_configurations(QuantizedSGD))
def test_native_equals_reference_through_quantized_sgd(configuration: Configuration) -> None:
    check(configuration)


def test_many_tensors_and_groups_of_one_kind_are_one_launch() -> None:
    params = [Parameter(torch.ones(3)) for _ in range(100)]
    groups = [{"params": [param], "lr": 0.1 + i, "temperature": 0.01 * i} for i, param in enumerate(params)]
    optimizer = SGLD(groups, 0.1, temperature=0.0, momentum=0.9)
    with only_native() as launches:
        for step in range(1, 4):
            for param in params:
                param.grad = torch.ones(3)
            optimizer.step()
            assert launches.count == step


def test_auto_is_native_for_what_native_takes() -> None:
    with only_native() as launches:
        params = [Parameter(torch.ones(3, dtype=dtype)) for dtype in DTYPES]
        for param in params:
            param.grad = torch.ones_like(param)
        SGLD(params, 0.1, temperature=1.0).step()
    assert launches.count == len(DTYPES)
