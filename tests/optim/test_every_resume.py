"""In every form of every optimizer: stopped, copied or saved and resumed equals uninterrupted; states that do not fit."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from qlangevin import QuantizedSGD, StateDictError, quantizers

from .optimizers import BACKENDS, FORMS
from .problems import Problem, make_problem, make_sgld
from .snapshots import assert_same, states_by_name, take_snapshot, unchanged

STEPS = 7  # beyond the cooling of two epochs and more
Resumed = tuple[Problem, Any]


def through_file(form: str, problem: Problem, optimizer: Any) -> Resumed:
    """Into new parameters and an optimizer whose every saved option is another's."""
    file = io.BytesIO()
    torch.save({"params": problem.values(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = Problem({name: torch.nn.Parameter(value) for name, value in saved["params"].items()})
    other = FORMS[form].make_bare(resumed.named())
    other.load_state_dict(saved["optimizer"])
    assert take_snapshot(other).groups == take_snapshot(optimizer).groups
    return resumed, other


def in_memory(form: str, problem: Problem, optimizer: Any) -> Resumed:
    """A state_dict over an optimizer that is somewhere else by now."""
    resumed = make_problem(dtype=next(iter(problem.values().values())).dtype)
    other = FORMS[form].make(resumed.named(), seed=3)
    resumed.run(other, range(20, 29))
    for name, value in problem.values().items():
        resumed.params[name].data.copy_(value)
    other.load_state_dict(optimizer.state_dict())
    return resumed, other


WAYS: dict[str, Callable[[str, Problem, Any], Resumed]] = {
    "file": through_file,
    "memory": in_memory,
    "deepcopy": lambda form, problem, optimizer: copy.deepcopy((problem, optimizer)),
    "pickle": lambda form, problem, optimizer: pickle.loads(pickle.dumps((problem, optimizer))),
}


F32, BF16 = torch.float32, torch.bfloat16
PLACES = [
    ("file", 0, BF16),
    ("file", 1, BF16),
    ("file", 4, F32),
    ("memory", 4, BF16),
    ("deepcopy", 0, F32),
    ("deepcopy", 4, BF16),
]


@pytest.mark.parametrize(("way", "stop", "dtype"), [*PLACES, ("pickle", 4, BF16)])
@pytest.mark.parametrize("form", FORMS)
def test_resumed_equals_uninterrupted(form: str, way: str, stop: int, dtype: torch.dtype) -> None:
    backend = BACKENDS[stop % 2]  # both, without doubling the time
    whole, stopped = make_problem(dtype=dtype), make_problem(dtype=dtype)
    first, second = FORMS[form].make(stopped.named(), backend=backend), FORMS[form].make(whole.named())
    stopped.run(first, range(1, stop + 1))
    resumed, third = WAYS[way](form, stopped, first)
    resumed.run(third, range(stop + 1, STEPS + 1))
    whole.run(second, range(1, STEPS + 1))
    assert_same(resumed.values(), whole.values())
    assert_same(states_by_name(third, resumed.params), states_by_name(second, whole.params))
    exponents = [optimizer.param_groups[0].get("resolution_exponent") for optimizer in (second, third)]
    assert exponents[0] == exponents[1] and (exponents[0] is not None) == ("adaptive" in form)


def test_loading_a_state_from_before_the_first_step_forgets_the_exponent() -> None:
    form = FORMS["QuantizedSGD, adaptive"]
    problem = make_problem()
    optimizer = form.make(problem.named())
    fresh = copy.deepcopy(optimizer.state_dict())
    problem.run(optimizer, [1, 2, 3])
    assert optimizer.param_groups[0]["resolution_exponent"] > 1
    optimizer.load_state_dict(fresh)
    assert "resolution_exponent" not in optimizer.param_groups[0]


@pytest.mark.parametrize("wrong", [2.5, 2.0, "3", True, float("nan"), 10**9, -127, [3], torch.tensor(3)], ids=str)
def test_an_exponent_that_is_no_integer_is_refused(wrong: Any) -> None:
    form = FORMS["QuantizedSGD, adaptive"]
    problem = make_problem()
    optimizer = form.make(problem.named())
    problem.run(optimizer, [1, 2])
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["resolution_exponent"] = wrong
    with unchanged(optimizer), pytest.raises(StateDictError, match="resolution_exponent must be an integer"):
        optimizer.load_state_dict(saved)
    optimizer.param_groups[0]["resolution_exponent"] = wrong
    problem.set_grads(3)
    with unchanged(optimizer), pytest.raises(ValueError, match="resolution_exponent must be an integer"):
        optimizer.step()


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("target", FORMS)
def test_states_of_another_rule_are_refused_although_they_have_equal_names(target: str, steps: int) -> None:
    # CoolMomentum's momentum_buffer is a displacement, SGLD's is a gradient: 1 / lr times as large. RMSprop's and Adadelta's
    # square_avg are means of equal things, but are made with other factors.
    for source in FORMS:
        if set(FORMS[source].kind.rules) & set(FORMS[target].kind.rules):
            continue
        saving, problem = make_problem(), make_problem()
        saved = FORMS[source].make(saving.named())
        saving.run(saved, range(1, steps + 1))
        optimizer = FORMS[target].make(problem.named())
        problem.run(optimizer, [1])
        with unchanged(optimizer), pytest.raises(StateDictError, match="another rule"):
            optimizer.load_state_dict(saved.state_dict())


def test_the_states_of_torch_sgd_fit_where_they_mean_the_same() -> None:
    source = make_problem()
    sgd = torch.optim.SGD(source.list(), 0.25, momentum=0.5)
    source.run(sgd, [1])
    with pytest.raises(StateDictError, match="another rule"):
        FORMS["CoolMomentum"].make(make_problem().list()).load_state_dict(sgd.state_dict())
    problem = make_problem()
    optimizer = FORMS["QuantizedSGD, published"].make(problem.list())
    optimizer.load_state_dict(sgd.state_dict())
    group = optimizer.param_groups[0]
    assert group["momentum"] == 0.5 and isinstance(group["update_quantizer"], quantizers.Grid)
    problem.run(optimizer, [2])


def test_the_optimizers_with_equal_rules_exchange_their_states() -> None:
    problem, other = make_problem(), make_problem()
    sgld = make_sgld(problem.named(), momentum=0.5)
    problem.run(sgld, [1, 2])
    for name, value in problem.values().items():
        other.params[name].data.copy_(value)
    quantized = QuantizedSGD(other.named(), 9.0, update_quantizer=None, compensation=None)
    quantized.load_state_dict(sgld.state_dict())
    problem.run(sgld, [3])
    other.run(quantized, [3])
    assert_same(other.values(), problem.values())


@pytest.mark.parametrize("form", [form for form in FORMS if "adam" not in FORMS[form].kind.rules])
def test_the_state_of_adam_is_refused(form: str) -> None:
    source, problem = make_problem(), make_problem()
    adam = torch.optim.Adam(source.list())
    source.run(adam, [1])
    optimizer = FORMS[form].make(problem.list())
    with unchanged(optimizer), pytest.raises(StateDictError, match=r"another rule.* betas"):
        optimizer.load_state_dict(adam.state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_values_of_a_wrong_type_in_a_state_dict_are_refused(form: str) -> None:
    problem = make_problem()
    optimizer = FORMS[form].make(problem.named())
    problem.run(optimizer, [1])
    changes = {"update_quantizer": 64.0, "grad_quantizer": "nearest", "temperature": None, "lr": -1.0}
    changes |= dict.fromkeys(FORMS[form].kind.rule_fields, "x")
    for name, value in changes.items():
        saved = copy.deepcopy(optimizer.state_dict())
        saved["param_groups"][0][name] = value
        with unchanged(optimizer), pytest.raises(StateDictError, match=name):
            optimizer.load_state_dict(saved)
