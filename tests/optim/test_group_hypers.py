"""Hyper-parameters are read again when they changed, and counters only for schedules; noise beyond binary32 is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import SGLD, HyperparameterError, _native, group_hypers, quantizers

from .problems import ALL_ON, make_problem, make_sgld
from .snapshots import unchanged

FIELDS = ("lr", "noise")
VALUE = torch.ones(2)
RAW: list[tuple[Any, ...] | None] = [(0.1, "gaussian"), (1, "gaussian"), None, (VALUE, "gaussian"), (0.5, "uniform")]


@pytest.mark.parametrize(
    ("index", "values", "same"),
    [
        (0, (0.1, "gaussian"), True),
        (0, (0.1, "uniform"), False),
        (0, (0.2, "gaussian"), False),
        (1, (1.0, "gaussian"), True),
        (3, (VALUE, "gaussian"), True),
        (3, (torch.ones(2), "gaussian"), False),  # whose comparison has no truth value
        (4, (torch.ones(2), "uniform"), False),
        (4, ("0.5", "uniform"), False),
    ],
)
def test_changed_groups_in_c_and_in_python(index: int, values: tuple[Any, ...], same: bool) -> None:
    groups = [dict(zip(FIELDS, raw or (0.3, "uniform"), strict=True)) for raw in RAW]
    groups[index] = dict(zip(FIELDS, values, strict=True))
    expected = sorted({2} if same else {2, index})
    assert _native.changed_groups(groups, FIELDS, RAW) == expected
    assert group_hypers.changed_groups_slowly(groups, FIELDS, RAW) == expected
    assert group_hypers.changed_groups is _native.changed_groups


@pytest.mark.parametrize("function", [_native.changed_groups, group_hypers.changed_groups_slowly])
def test_a_group_without_a_field_is_an_error(function: Any) -> None:
    with pytest.raises(KeyError, match="noise"):
        function([{"lr": 0.1}], FIELDS, [RAW[0]])


@pytest.mark.parametrize("odd", [None, torch.tensor(9.0), 9, torch.tensor([9]), torch.tensor(9, dtype=torch.int32), "x", -1])
def test_the_steps_taken_in_c_and_in_python(odd: Any) -> None:
    problem = make_problem()
    optimizer = make_sgld([{"params": problem.list()[:2]}, {"params": []}, {"params": problem.list()[2:]}], **ALL_ON)
    assert group_hypers.steps_taken(optimizer) == [0, 0, 0]
    problem.run(optimizer, [1, 2])
    problem.without_grads = {"p0", "p2", "p3"}
    problem.run(optimizer, [3])
    optimizer.state[Parameter(torch.ones(1))] = {"step": torch.tensor(77)}  # of no group
    if odd is not None:
        optimizer.state[problem.params["p3"]]["step"] = odd
    slow = group_hypers.steps_taken_slowly(optimizer.param_groups, optimizer.state)
    assert slow == [3, 0, 2 if odd in (None, "x", -1) else 9]
    assert group_hypers.steps_taken(optimizer) == slow
    native = _native.steps_taken(
        optimizer.param_groups,
        optimizer.state,
        torch.Tensor.__dlpack_c_exchange_api__,  # type: ignore[attr-defined]
    )
    assert native == (slow if odd is None else None)


DYNAMIC: dict[str, tuple[dict[str, Any], bool]] = {
    "a tensor lr": ({"lr": torch.tensor(0.1)}, False),
    "a tensor resolution": ({"update_quantizer": quantizers.Grid(torch.tensor(8.0))}, False),  # type: ignore[arg-type]
    "a schedule": ({"temperature": lambda step: 0.1}, True),
    "a schedule of a resolution": ({"update_quantizer": quantizers.Grid(lambda step: 8.0)}, True),
}


@pytest.mark.parametrize("kind", DYNAMIC)
def test_counters_are_read_for_schedules_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, reads = DYNAMIC[kind]
    calls = []
    taken = group_hypers.steps_taken
    monkeypatch.setattr(group_hypers, "steps_taken", lambda optimizer: calls.append(0) or taken(optimizer))
    problem = make_problem()
    problem.run(make_sgld(problem.named(), **options), [1, 2])
    assert bool(calls) == reads


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_noise_beyond_binary32_is_refused(steps_before: int, backend: str) -> None:
    # sqrt(2 (1 - momentum) T / lr) = sqrt(2 * 0.5 * 1e38 / 1e-40) = 1e39 > 3.4e38
    problem = make_problem()
    temperature = lambda step: 1e38 if step > steps_before else 1.0  # noqa: E731  # a schedule in a line
    optimizer = make_sgld(problem.named(), lr=1e-40, momentum=0.5, temperature=temperature, backend=backend)
    problem.run(optimizer, range(1, steps_before + 1))
    problem.set_grads(3)
    for _ in range(2):
        with unchanged(optimizer), pytest.raises(HyperparameterError) as error:
            optimizer.step()
        assert all(
            part in str(error.value) for part in ("temperature = 1e+38", "lr = 1e-40", f"step {steps_before + 1}", "1e+39")
        )


@pytest.mark.parametrize("lr", [0.0, 1e-46])
def test_there_is_no_noise_to_refuse_where_nothing_moves(lr: float) -> None:
    param = Parameter(torch.ones(3))
    param.grad = torch.ones(3)
    SGLD([param], lr, temperature=3e38, momentum=0.5).step()  # an lr of 1e-46 is 0 in binary32
    assert torch.equal(param, torch.ones(3))


def test_noise_just_inside_binary32_is_taken() -> None:
    param = Parameter(torch.zeros(1000))
    param.grad = torch.zeros(1000)
    optimizer = SGLD([param], 1e-38, temperature=9e36, momentum=0.5, noise="rademacher", backend="native")  # 3e37
    optimizer.step()
    assert bool(optimizer.state[param]["momentum_buffer"].isfinite().all()) and bool(param.isfinite().all())
