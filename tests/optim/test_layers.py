"""Layer Langevin: which layers are chosen, and that the others step as without noise, in the same launch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from qlangevin import SGLD, HyperparameterError, StateDictError, layers
from qlangevin.layers import layer_langevin, select_layers

from .launches import only_native
from .optimizers import FORMS
from .problems import make_problem
from .snapshots import assert_same, describe_difference, states_by_name, unchanged

NOISY = [form for form in FORMS if FORMS[form].options.get("temperature") and "calibrated" not in form]
CHOSEN = ("p0", "p2")


class Block(nn.Module):
    """A layer with a parameter of its own beside its children's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.inner = nn.Linear(4, 4)
        self.relu = nn.ReLU()


def make_model() -> nn.Module:
    """Parametric: 0, 2, 4, 4.inner, 5; all: 0, 1, 2, 3, 4, 4.inner, 4.relu, 5."""
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4, bias=False), nn.Tanh(), Block(), nn.BatchNorm1d(4))


FIRST, SECOND, FOURTH = ("0.weight", "0.bias"), ("2.weight",), ("4.scale", "4.inner.weight", "4.inner.bias")
LAST = ("5.weight", "5.bias")


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ({"fraction": 0.0}, ()),
        ({"fraction": 0.19}, ()),
        ({"fraction": 0.2}, FIRST),
        ({"fraction": 0.6}, (*FIRST, *SECOND, FOURTH[0])),
        ({"fraction": 1}, (*FIRST, *SECOND, *FOURTH, *LAST)),
        ({"fraction": 0.4, "order": "output"}, (*FOURTH[1:], *LAST)),
        ({"fraction": 0.25, "count": "all"}, FIRST),
        ({"fraction": 0.5, "count": "all"}, (*FIRST, *SECOND)),
        ({"fraction": 0.25, "count": "all", "order": "output"}, LAST),
        ({"patterns": ["4*"]}, FOURTH),
        ({"patterns": ["4", "2"]}, (*SECOND, FOURTH[0])),
        ({"types": [nn.Linear]}, (*FIRST, *SECOND, *FOURTH[1:])),
        ({"types": [nn.Linear], "fraction": 0.34}, FIRST),
        ({"types": [nn.Linear], "patterns": ["4.*"]}, FOURTH[1:]),
        ({"types": [nn.ReLU], "count": "all"}, ()),
    ],
)
def test_which_parameters_are_chosen(selection: dict[str, Any], names: tuple[str, ...]) -> None:
    assert select_layers(make_model(), **selection) == names


def test_a_fraction_that_binary64_does_not_hold_reaches_its_layer() -> None:
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(100)))
    assert [len(select_layers(model, k / 100)) for k in range(101)] == list(range(101))


def test_shared_parameters_have_the_name_that_the_model_gives_them() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert select_layers(model, 0.5, order="output") == ("0.weight", "1.bias")


def test_wrappers_change_no_name() -> None:
    wrapped = nn.Module()
    wrapped.module = make_model()
    assert select_layers(wrapped, 0.2) == FIRST and select_layers(wrapped, patterns=["2"]) == SECOND


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({}, "needs a fraction, patterns or types"),
        *(({"fraction": value}, r"fraction must be a number in \[0, 1\]") for value in (-0.1, 1.1, float("nan"), "0.3", True)),
        ({"fraction": 0.5, "order": "depth"}, "order must be one of input, output"),
        ({"fraction": 0.5, "count": "some"}, "count must be one of parametric, all"),
        ({"patterns": ["0", "conv*"]}, r"pattern 'conv\*' matches no layer"),
        ({"types": [nn.Linear, nn.Conv2d]}, "type Conv2d matches no layer"),
        ({"types": [nn.ReLU]}, "type ReLU matches no layer"),
    ],
)
def test_bad_selections(selection: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        select_layers(make_model(), **selection)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", NOISY)
def test_each_layer_steps_as_in_a_run_with_or_without_noise(form: str, dtype: torch.dtype, backend: str) -> None:
    found = {}
    for name, options in {"some": {"noise_on": CHOSEN}, "all": {}, "none": {"temperature": 0.0}}.items():
        problem = make_problem(dtype=dtype)
        optimizer = FORMS[form].make(problem.named(), backend=backend, **options)
        problem.run(optimizer, range(1, 4))
        found[name] = {**problem.values(), **states_by_name(optimizer, problem.params)}
    for key in found["some"]:
        of = "all" if key.split("/")[0] in CHOSEN else "none"
        assert describe_difference(found["some"][key], found[of][key]) is None, key
    for name in ("p0", "p1"):
        assert describe_difference(found["all"][name], found["none"][name])


def test_layers_with_and_without_noise_are_one_launch() -> None:
    problem = make_problem()
    with only_native() as launches:
        problem.run(FORMS["SGLD with momentum"].make(problem.named(), backend="native", noise_on=CHOSEN), [1, 2])
    assert launches.count == 2


def test_the_choice_may_change_and_is_saved() -> None:
    problem, twin = make_problem(), make_problem()
    optimizer = FORMS["SGLD"].make(problem.named(), noise_on=list(CHOSEN))
    problem.run(optimizer, [1])
    optimizer.param_groups[0]["noise_on"] = ("p1",)
    saved = optimizer.state_dict()
    other = FORMS["SGLD"].make(twin.named())
    for name, param in twin.params.items():
        param.data.copy_(problem.params[name].data)
    other.load_state_dict(saved)
    assert other.param_groups[0]["noise_on"] == ("p1",)
    problem.run(optimizer, [2]), twin.run(other, [2])
    assert_same(problem.values(), twin.values())
    optimizer.param_groups[0]["noise_on"] = ["p1"]  # the same, as a list
    latest = optimizer._executions.latest
    problem.run(optimizer, [3])
    assert optimizer._executions.latest is latest


def test_names_of_no_parameter_are_refused() -> None:
    with pytest.raises(HyperparameterError, match="'q', which names no parameter of the optimizer: p0, p1, p2, p3"):
        FORMS["SGLD"].make(make_problem().named(), noise_on=["p0", "q"])
    with pytest.raises(HyperparameterError, match=r"give it model.named_parameters\(\)"):
        FORMS["SGLD"].make(make_problem().list(), noise_on=["p0"])
    problem = make_problem()
    optimizer = FORMS["SGLD"].make(problem.named())
    problem.run(optimizer, [1])
    optimizer.param_groups[0]["noise_on"] = ("gone",)
    problem.set_grads(2)
    with unchanged(optimizer), pytest.raises(HyperparameterError, match="gone"):
        optimizer.step()
    saved = optimizer.state_dict()
    other = FORMS["SGLD"].make(make_problem().named())
    with unchanged(other), pytest.raises(StateDictError, match="gone"):
        other.load_state_dict(saved)
    with unchanged(other), pytest.raises(HyperparameterError, match="far"):
        other.add_param_group({"params": [("near", nn.Parameter(torch.ones(2)))], "noise_on": ["far"]})


def test_groups_of_decay_are_kept() -> None:
    model = make_model()
    decayed, others = [model[0].weight, model[2].weight], [model[0].bias, *model[4].parameters(), *model[5].parameters()]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    made = layer_langevin(model, 0.2, groups=groups)
    assert [group["weight_decay"] for group in made] == [0.1, 0.0] and all(group["noise_on"] == FIRST for group in made)
    assert [name for name, _ in made[0]["params"]] == ["0.weight", "2.weight"] and "noise_on" not in groups[0]
    optimizer = SGLD(made, 0.1, temperature=1.0, seed=3)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    optimizer.param_groups[0]["weight_decay"] = 0.0
    optimizer.step()
    assert {name for name, param in model.named_parameters() if not param.equal(before[name])} == set(FIRST)
    (whole,) = layer_langevin(model, 0.4, order="output")
    assert [name for name, _ in whole["params"]] == [name for name, _ in model.named_parameters()]
    assert whole["noise_on"] == (*FOURTH[1:], *LAST)
    with pytest.raises(HyperparameterError, match=r"shape \(3,\) that is no parameter"):
        layer_langevin(model, 0.2, groups=[{"params": [nn.Parameter(torch.ones(3))]}])


def test_the_documented_words() -> None:
    assert layers.ORDERS == ("input", "output") and layers.COUNTS == ("parametric", "all")
