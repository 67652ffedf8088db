"""The public names: all there, documented, and usable as their docstrings say."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import torch

import qlangevin
from qlangevin import optim, quantizers, schedules
from tests.tolerances import bound

from .optimizers import FORMS

OPTIMIZERS = (
    "SGLD",
    "CoolMomentum",
    "QuantizedSGD",
    "SGHMC",
    "LangevinRMSprop",
    "LangevinAdagrad",
    "LangevinAdadelta",
    "LangevinAdam",
    "LangevinAdamW",
    "QuantizedAdam",
    "QuantizedAdamW",
)
VALUES = {
    quantizers: ("Grid", "LogResolution", "AdaptiveResolution", "CalibratedResolution", "Compensation"),
    schedules: ("Piecewise", "Linear", "Cosine", "LogCooling", "Cyclical", "Cooling"),
}


def test_the_optimizers_are_exported_from_both_places() -> None:
    for name in OPTIMIZERS:
        assert name in qlangevin.__all__ and name in optim.__all__
        assert getattr(qlangevin, name) is getattr(optim, name)
        assert issubclass(getattr(qlangevin, name), torch.optim.Optimizer)
    assert set(optim.__all__) == set(OPTIMIZERS)
    assert {form.kind.__name__ for form in FORMS.values()} == set(OPTIMIZERS)
    assert {"quantizers", "schedules", "temperature"} <= set(qlangevin.__all__)
    assert all(hasattr(qlangevin, name) for name in qlangevin.__all__)


DECOUPLED = ("LangevinAdamW", "QuantizedAdamW")  # another's arguments, two of them with other defaults
DOCUMENTED: list[Any] = [getattr(qlangevin, name) for name in OPTIMIZERS if name not in DECOUPLED]
DOCUMENTED += [getattr(module, name) for module, names in VALUES.items() for name in names]


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda documented: documented.__name__)
def test_every_argument_is_documented(documented: Any) -> None:
    text = inspect.getdoc(documented) or ""
    names = list(inspect.signature(documented).parameters)
    if names:
        arguments = text.split("Args:")[1].split("Raises:")[0]
        listed = {
            name.strip() for names in re.findall(r"^    (\w[\w, \n]*?):", arguments, re.MULTILINE) for name in names.split(",")
        }
        assert set(names) == listed


@pytest.mark.parametrize("name", DECOUPLED)
def test_decoupled_decay_has_the_other_arguments_of_what_it_is_called_after(name: str) -> None:
    kind, param = getattr(qlangevin, name), torch.nn.Parameter(torch.ones(2))
    arguments = inspect.signature(getattr(qlangevin, name.removesuffix("W"))).parameters
    required = {key: None for key, one in arguments.items() if one.default is one.empty and key != "params"}
    defaults = {key: one.default for key, one in arguments.items() if key not in ("params", *required)}
    group = kind([param], **required, seed=1).param_groups[0]
    wanted = {**defaults, "seed": 1, "weight_decay": 1e-2, "decoupled_weight_decay": True}
    assert {key: group[key] for key in wanted if key != "backend"} == {k: v for k, v in wanted.items() if k != "backend"}
    group = kind([param], **required, **defaults).param_groups[0]
    assert group["weight_decay"] == 0.0 and group["decoupled_weight_decay"] is False
    with pytest.raises(TypeError, match="nonsense"):
        kind([param], **required, nonsense=1)


@pytest.mark.parametrize("kind", [name for name in OPTIMIZERS if name not in DECOUPLED])
def test_the_options_that_all_share_have_the_same_defaults(kind: str) -> None:
    own = inspect.signature(getattr(qlangevin, kind)).parameters
    for name, parameter in inspect.signature(qlangevin.SGLD).parameters.items():
        if name in own and name not in ("lr", "temperature", "momentum", "update_quantizer"):
            assert own[name].default == parameter.default and own[name].kind == parameter.kind, name


def test_what_the_docstring_of_log_resolution_says_of_its_defaults() -> None:
    batches = 100
    schedule = quantizers.LogResolution(batches)
    exponents = {
        t: quantizers.LogResolution(batches)(round(t * batches) + 1) for t in (0.0, 0.71, 0.73, 5.3, 5.4, 52.5, 52.7, 1e4)
    }
    assert list(exponents.values()) == [2.0**k for k in (18, 18, 19, 19, 20, 20, 21, 22)]
    assert quantizers.LogResolution.of_the_paper(batches)(1) == 2.0**8.5  # floor(log2(ln 2) / 2) = -1
    assert quantizers.LogResolution.of_the_paper(batches)(100) == 2.0**9.5
    assert schedule == quantizers.LogResolution(batches, 2.0**19, 2.0, 1.0) and hash(schedule) == hash(schedule)


def test_what_the_docstring_of_cooling_says() -> None:
    total, start = 10, 0.9
    geometric, exponential, linear = (schedules.Cooling(total, start, form) for form in schedules.COOLINGS)
    for step in range(1, total + 1):
        x = (step - 1) / total
        c = (1 - start) / (1 + start)
        assert geometric(step) == pytest.approx(1 - (1 - start) ** (1 - x), rel=bound("closed_form"))
        assert exponential(step) == pytest.approx((1 - c ** (1 - x)) / (1 + c ** (1 - x)), rel=bound("closed_form"))
        assert linear(step) == pytest.approx(start * (1 - x) / (1 - start * x), rel=bound("closed_form"))
        for cooling in (geometric, exponential, linear):
            assert 0 < cooling(step) < 1 and (step == 1 or cooling(step) < cooling(step - 1))
        assert 1 / (1 - linear(step)) == pytest.approx(1 / (1 - start) + x * (1 - 1 / (1 - start)), rel=bound("closed_form"))
    assert all(cooling(1) == pytest.approx(start, rel=bound("closed_form")) for cooling in (geometric, exponential, linear))
    delayed = schedules.Cooling(total, start, "linear", warmup_steps=3)
    assert [delayed(step) for step in (1, 2, 3)] == [0.0] * 3 and delayed(4) == linear(4)
    with pytest.warns(UserWarning, match="over after 10 steps"):
        assert linear(total + 1) == 0.0


def test_the_examples_of_the_docstrings() -> None:
    model = torch.nn.Linear(3, 2)
    loader = torch.utils.data.DataLoader(range(10), batch_size=5)  # type: ignore[arg-type]
    chosen: list[torch.optim.Optimizer] = [
        qlangevin.CoolMomentum(model.named_parameters(), 0.01, momentum=schedules.Cooling(total_steps=100)),
        qlangevin.CoolMomentum(model.parameters(), momentum=lambda step: 0.5),
        qlangevin.QuantizedSGD(
            model.named_parameters(),
            update_quantizer=quantizers.Grid(quantizers.LogResolution(loader)),
            compensation=quantizers.Compensation(20.0, loader),
        ),
        qlangevin.QuantizedSGD(
            model.parameters(),
            0.1,
            update_quantizer=quantizers.Grid(quantizers.CalibratedResolution(), "dither"),
            compensation=None,
            temperature=qlangevin.temperature.posterior(1000),
        ),
        qlangevin.QuantizedSGD(
            model.parameters(), update_quantizer=quantizers.Grid(lambda step: 2.0**20 * step), compensation=None
        ),
    ]
    for optimizer in chosen:
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        before = [param.detach().clone() for param in model.parameters()]
        optimizer.step()
        assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        assert type(optimizer).__name__ in repr(optimizer)
