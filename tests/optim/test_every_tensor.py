"""In every form of every optimizer: any layout, any dtype, many groups, gradients that are no usual numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin.reference_rules import RULES
from tests.tolerances import bound

from .layouts import DENSE, GRADS
from .optimizers import BACKENDS, FORMS
from .problems import draw, make_problem
from .snapshots import ON_DEVICE, assert_same, states_by_name

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
SPECIAL = (math.nan, math.inf, -math.inf, 1e20, -1e30, 3e38, 1e19, 1e-19, 1e-30, 1e-45, 0.0, -0.0, 1.0, -2.0)
HUGE = tuple(range(3, 6))  # those of SPECIAL whose square is beyond binary32
OF_ONE_ELEMENT = [form for form in FORMS if FORMS[form].options.get("compensation") is None and "adaptive" not in form]


def run(form: str, params: list[Parameter], grads: list[list[Tensor]], **options: Any) -> dict[str, Tensor]:
    """What steps with these gradients of every parameter leave."""
    named = {f"p{i}": param for i, param in enumerate(params)}
    optimizer = FORMS[form].make(list(named.items()), **options)
    for each in grads:
        for param, grad in zip(params, each, strict=True):
            param.grad = grad
        optimizer.step()
    return {**{name: param.detach() for name, param in named.items()}, **states_by_name(optimizer, named)}


@pytest.mark.parametrize("dtype", [F32, BF16, F16])
@pytest.mark.parametrize("form", FORMS)
def test_native_equals_reference_in_every_layout(form: str, dtype: torch.dtype) -> None:
    results = []
    for backend in BACKENDS:
        params = [Parameter(lay_out(draw(name, shape, dtype))) for name, (shape, lay_out) in DENSE.items()]
        grads = [
            [lay_out(draw(f"{name}/{step}", shape, dtype)) for name, (shape, lay_out) in DENSE.items()] for step in (1, 2, 3)
        ]
        params += [Parameter(draw(name, (6, 4), dtype)) for name in GRADS]
        for step, each in enumerate(grads):
            each += [lay_out(draw(f"{name}/{step}", (6, 4), dtype)) for name, lay_out in GRADS.items()]
        results.append(run(form, params, grads, backend=backend))
    assert_same(results[0], results[1])


@pytest.mark.parametrize("form", FORMS)
def test_binary64_is_binary32_with_more_digits(form: str) -> None:
    narrow, wide = make_problem(), make_problem(dtype=torch.float64)
    for name, param in wide.params.items():
        param.data.copy_(narrow.params[name].detach())
    small, large = FORMS[form].make(narrow.named(), backend="reference"), FORMS[form].make(wide.named(), backend="reference")
    for step in range(1, 6):
        narrow.run(small, [step])
        for name, param in wide.params.items():
            grad = narrow.params[name].grad
            assert grad is not None
            param.grad = grad.double()
        large.step()
    for name, param in wide.params.items():
        assert float((param - narrow.params[name].double()).detach().abs().max()) < bound("five_steps_in_binary32")
        assert {large.state[param][state].dtype for state in RULES[large.rule_of(large.param_groups[0])].states} <= {
            torch.float64
        }


@pytest.mark.parametrize("form", [form for form in FORMS if not (ON_DEVICE and "adaptive" in form)])  # which needs the host
def test_capturable_changes_nothing_on_the_cpu(form: str) -> None:
    results = []
    for capturable in (False, True):
        problem = make_problem(dtype=BF16)
        optimizer = FORMS[form].make(problem.named(), capturable=capturable)
        optimizer.tabulate_schedules(5)
        problem.run(optimizer, range(1, 6))
        results.append({**problem.values(), **states_by_name(optimizer, problem.params)})
    assert_same(results[0], results[1])


@pytest.mark.parametrize("form", OF_ONE_ELEMENT)
def test_many_groups_are_as_many_optimizers(form: str) -> None:
    together = make_problem({f"w{i}": (i % 7,) for i in range(60)}, dtype=BF16)
    groups = [{"params": [pair], "lr": 0.01 * (i + 1)} for i, pair in enumerate(together.named())]
    optimizer = FORMS[form].make(groups)
    together.run(optimizer, [1, 2, 3])
    for i in range(0, 60, 17):
        alone = make_problem({f"w{i}": (i % 7,)}, dtype=BF16)
        alone.run(FORMS[form].make(alone.named(), lr=0.01 * (i + 1)), [1, 2, 3])
        assert_same({f"w{i}": together.values()[f"w{i}"]}, alone.values())


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_that_are_no_usual_numbers(form: str, dtype: torch.dtype) -> None:
    ones, special = torch.ones(len(SPECIAL), dtype=dtype), torch.tensor(SPECIAL).to(dtype)
    grads = [[ones], [special], [ones], [-ones]]
    results = [run(form, [Parameter(ones.clone())], grads, backend=backend) for backend in BACKENDS]
    assert_same(results[0], results[1])
    if form not in OF_ONE_ELEMENT:  # whose norm, or resolution, is of all elements
        return
    usual = torch.where(special.isfinite() & (special.abs() < 1e15), special, 1.0)
    plain = run(form, [Parameter(ones.clone())], [[ones], [usual], [ones], [-ones]])["p0"]
    found, same = results[0]["p0"], usual == special
    assert found[same].equal(plain[same]) and bool(plain.isfinite().all())
    assert not bool(found[:3].isfinite().any())
    if hasattr(FORMS[form].kind, "freeze_preconditioner"):  # the square is Inf: docs/numerics.md, section 1
        assert not bool(found[list(HUGE)].isfinite().any())
