"""The table of cases and the lists of tensors."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks import ratios
from qlangevin import optim
from qlangevin.bench.cases import CASES, F32, Case
from qlangevin.bench.measure import make_tensors, wrap_params
from qlangevin.bench.picture import COLORS
from qlangevin.bench.shapes import LISTS

CPU = torch.device("cpu")
KINDS = ("SGD fused", "AdamW fused", "RMSprop foreach", "Adagrad foreach", "Adadelta foreach")
KINDS += ("RMSprop centred, momentum foreach",)


@pytest.mark.parametrize(
    ("name", "tensors", "elements"),
    [
        ("resnet50", 161, 25_557_032),
        ("gpt2-124m", 148, 124_439_808),
        ("mlp", 6, 784 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 10 + 10),
        ("many-small", 1000, 1000 * 1024),
        ("large", 32, 32 << 20),
        ("one-huge", 1, 64 << 20),
    ],
)
def test_a_list_has_the_network_s_size(name: str, tensors: int, elements: int) -> None:
    assert len(LISTS[name].shapes) == tensors
    assert LISTS[name].elements == sum(map(math.prod, LISTS[name].shapes)) == elements


def test_resnet50_and_gpt2_have_their_known_tensors() -> None:
    resnet, gpt = LISTS["resnet50"].shapes, LISTS["gpt2-124m"].shapes
    assert resnet[0] == (64, 3, 7, 7) and resnet[-2:] == [(1000, 2048), (1000,)]
    assert sum(len(shape) == 4 for shape in resnet) == 53 and resnet.count((512, 512, 3, 3)) == 3
    assert gpt[:2] == [(50257, 768), (1024, 768)] and gpt.count((768, 2304)) == 12 and gpt.count((3072, 768)) == 12


def test_names_are_unique_and_families_known() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.family for case in CASES} <= set(COLORS)
    assert all((case.needs is not None) == (case.family == "rival") for case in CASES)


def test_every_case_stands_beside_a_row_of_torch_s_that_is_timed_in_the_same_run() -> None:
    torch_rows = [case.name for case in CASES if case.family == "torch" and case.dtype == F32]
    assert {case.beside for case in CASES} == {f"torch {name}" for name in KINDS}
    assert all(sum(name.startswith(case.beside) for name in torch_rows) == 1 for case in CASES)
    for kind in KINDS:
        beside = [case for case in CASES if case.beside == f"torch {kind}"]
        assert all(kind.split()[0].removesuffix("W") in case.name for case in beside if kind != "SGD fused"), kind


def test_every_optimizer_of_this_package_has_a_row() -> None:
    timed = {type(case.make(wrap_params(make_tensors([(2,)], F32, CPU)))) for case in CASES if case.family == "qlangevin"}
    classes = [value for value in vars(optim).values() if isinstance(value, type)]
    # LangevinAdam and QuantizedAdam are their AdamW with another decay.
    assert {name.__name__ for name in classes if not any(issubclass(one, name) for one in timed)} == set()
    assert len(classes) == 11


def test_the_comparison_holds_torch_s_three_ways_and_the_eager_loop() -> None:
    names = {case.name for case in CASES}
    assert {f"torch SGD {way}" for way in ("for-loop", "foreach", "fused")} | {"eager Langevin loop"} <= names
    by_name = {case.name: case.make(wrap_params(make_tensors([(2,)], case.dtype, CPU))) for case in CASES[:3]}
    flags = {name: (made.defaults["foreach"], made.defaults["fused"]) for name, made in by_name.items()}  # type: ignore[attr-defined]
    assert flags == {
        "torch SGD for-loop": (False, None),
        "torch SGD foreach": (True, None),
        "torch SGD fused": (None, True),
    }


@pytest.mark.parametrize("case", [case for case in CASES if case.needs is None], ids=lambda case: case.name)
def test_every_case_steps_and_stays_finite_and_nonzero(case: Case) -> None:
    tensors = make_tensors([(200,), (3, 5)], case.dtype, CPU)
    before = [value.clone() for value, _ in tensors]
    stepper = case.make(wrap_params(tensors))
    for _ in range(50):
        stepper.step()
    for (value, grad), old in zip(tensors, before, strict=True):
        assert value.isfinite().all() and grad.isfinite().all()
        assert int((value == 0).sum()) == 0 and not torch.equal(value, old)


def test_goals_name_cases_and_lists_that_exist() -> None:
    names = {case.name for case in CASES}
    for name, case, other, _ in ratios.RATIOS:
        assert name in LISTS and {case, other} <= names
    for name, case, _, _ in ratios.LIMITS:
        assert name in LISTS and case in names


def test_a_goal_without_figures_is_not_met_and_not_missed() -> None:
    goals = ratios.check_goals({})
    assert len(goals) == len(ratios.RATIOS) + len(ratios.LIMITS)
    assert all(goal["value"] is None for goal in goals)
