"""What the optimizers of schedules and quantizers must refuse: named with field, value, range and step, nothing written."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from qlangevin import SGLD, CoolMomentum, HyperparameterError, QuantizedSGD, StateDictError, schedules
from qlangevin.quantizers import AdaptiveResolution, CalibratedResolution, Compensation, Grid, LogResolution

from .optimizers import FORMS
from .problems import make_problem, make_sgld
from .snapshots import unchanged
from .wrong_arguments import INF, NAN, ROWS

FORMS_OF_COOLING = tuple(form for form in FORMS if FORMS[form].kind is CoolMomentum)
QUANTIZED = FORMS["QuantizedSGD, published"]
COOL = FORMS["CoolMomentum"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[2][:24]} {str(row[1])[:20]}")
def test_arguments(row: Any) -> None:
    make, value, told = row
    with pytest.raises(HyperparameterError) as error:
        make(value)
    assert told in str(error.value)
    assert repr(value)[:100] in str(error.value) or "got 5" in told


def test_a_data_loader_counts_as_its_length() -> None:
    loader = DataLoader(range(10), batch_size=4)  # type: ignore[arg-type]  # a sequence will do
    assert LogResolution(loader) == LogResolution(3)
    assert AdaptiveResolution(loader) == AdaptiveResolution(3)
    assert Compensation(1.0, loader) == Compensation(1.0, 3)
    assert LogResolution([1, 2, 3]) == LogResolution(3)


def wrong_from(step_of_it: int, value: Any, good: Any) -> Any:
    """A schedule that goes wrong at a step."""
    return lambda step: value if step >= step_of_it else good


def check_refused_at(form: Any, at: int, told: str, value: Any, **options: Any) -> None:
    """Steps until the schedule of the second group goes wrong, then expects the refusal, twice."""
    problem = make_problem(dtype=torch.bfloat16)
    groups = [{"params": problem.named()[:1]}, {"params": problem.named()[1:], **options}]
    optimizer = form.make(groups)
    problem.run(optimizer, range(1, at))
    problem.set_grads(at)
    for _ in range(2):
        with unchanged(optimizer), pytest.raises(HyperparameterError) as error:
            optimizer.step()
        message = str(error.value)
        assert told in message and f"step {at}" in message and "param group 1" in message, message
        assert repr(value) in message, message


MOMENTA = (NAN, 1.0, -0.1, "x", None, INF, True, torch.ones(2))


@pytest.mark.parametrize("value", MOMENTA, ids=str)
@pytest.mark.parametrize("form", [COOL, QUANTIZED], ids=lambda form: form.kind.__name__)
def test_a_constant_momentum(form: Any, value: Any) -> None:
    with pytest.raises(HyperparameterError, match=r"momentum must be a number or a schedule in \[0, 1\), got "):
        form.make(make_problem().list(), momentum=value)


@pytest.mark.parametrize("value", (NAN, -1.0, INF, "x", None, True), ids=str)
@pytest.mark.parametrize("form", ["CoolMomentum, warm", "QuantizedSGD, calibrated"])
def test_a_constant_temperature(form: str, value: Any) -> None:
    with pytest.raises(HyperparameterError, match=r"temperature must be a number or a schedule in \[0, inf\), got "):
        FORMS[form].make(make_problem().list(), temperature=value)


@pytest.mark.parametrize("value", MOMENTA, ids=str)
@pytest.mark.parametrize("form", [COOL, QUANTIZED, FORMS["SGLD with momentum"]], ids=lambda form: form.kind.__name__)
def test_a_momentum_schedule(form: Any, value: Any) -> None:
    told = "momentum must be a number or a schedule in [0, 1)"
    check_refused_at(form, 3, told, value, momentum=wrong_from(3, value, 0.5))


@pytest.mark.parametrize("value", [NAN, 0, -1.0, None, "64", True, 1e-39, torch.ones(2)], ids=str)
@pytest.mark.parametrize("field", ["update_quantizer", "grad_quantizer"])
def test_a_resolution_schedule(field: str, value: Any) -> None:
    told = f"{field}: resolution must be a number in [2^-126, inf]"
    check_refused_at(QUANTIZED, 3, told, value, **{field: Grid(wrong_from(3, value, 64.0))})


@pytest.mark.parametrize("value", [NAN, -1e-9, "x", INF, None], ids=str)
@pytest.mark.parametrize("form", ["SGLD", "CoolMomentum, warm", "QuantizedSGD, calibrated"])
def test_a_temperature_schedule(form: str, value: Any) -> None:
    told = "temperature must be a number or a schedule in [0, inf)"
    check_refused_at(FORMS[form], 4, told, value, temperature=wrong_from(4, value, 0.5))


def test_a_published_resolution_that_falls_is_named_with_its_step() -> None:
    falling = LogResolution(2, power=-1.0)  # the exponent falls where ln(t + 2) reaches 1: at the third step, t = 1
    problem = make_problem()
    optimizer = QUANTIZED.make(problem.named(), update_quantizer=Grid(falling))
    problem.run(optimizer, [1, 2])
    problem.set_grads(3)
    with unchanged(optimizer), pytest.raises(HyperparameterError, match=r"update_quantizer: .*must not fall.*at step 3"):
        optimizer.step()


@pytest.mark.parametrize("resolution", [lambda step: 64.0 / step, schedules.Linear(64.0, 1.0, 5)])
def test_a_resolution_of_the_user_s_own_may_fall(resolution: Any) -> None:
    problem = make_problem()
    problem.run(QUANTIZED.make(problem.named(), update_quantizer=Grid(resolution)), range(1, 6))


def test_a_calibrated_resolution_falls_while_lr_warms_up() -> None:
    problem = make_problem()
    optimizer = FORMS["QuantizedSGD, calibrated"].make(problem.named(), lr=0.0)
    resolutions = []
    for step in range(1, 5):
        problem.run(optimizer, [step])
        resolutions.append(optimizer.resolve(optimizer.param_groups[0], step)["update_resolution"])
        optimizer.param_groups[0]["lr"] = 0.01 * 4.0**step
    assert resolutions == sorted(resolutions, reverse=True) and resolutions[0] == INF


@pytest.mark.parametrize(
    ("steep", "step"),
    [
        (LogResolution(1, power=1e308, base=1.5), 1),
        (LogResolution(1, power=-2000.0, base=1.5), 20),
        (LogResolution(1, base=1e308, power=2000.0), 20),
    ],
)
def test_a_resolution_beyond_binary64_is_named_at_its_step(steep: LogResolution, step: int) -> None:
    optimizer = QUANTIZED.make(make_problem().named())
    group = {**optimizer.param_groups[0], "update_quantizer": Grid(steep)}
    with pytest.raises(HyperparameterError, match=f"update_quantizer: resolution .* at step {step}"):
        optimizer.resolve(group, step)


TEMPERATE: dict[str, tuple[Any, str]] = {
    "a grid of its own resolution": (Grid(64.0), "needs a CalibratedResolution"),
    "a published grid": (Grid(LogResolution(2)), "needs a CalibratedResolution"),
    "an adaptive grid": (Grid(AdaptiveResolution()), "needs a CalibratedResolution"),
    "noise": (Grid(64.0, "noise"), "needs a CalibratedResolution"),
    "no grid": (None, "needs a CalibratedResolution"),
}


@pytest.mark.parametrize("case", TEMPERATE)
@pytest.mark.parametrize("temperature", [0.5, torch.tensor(0.5), lambda step: 0.5])
def test_a_temperature_that_nothing_keeps(case: str, temperature: Any) -> None:
    quantizer, told = TEMPERATE[case]
    with pytest.raises(HyperparameterError, match=f"temperature = 0.5.*{told}"):
        QuantizedSGD([torch.ones(2)], 0.1, update_quantizer=quantizer, compensation=None, temperature=temperature)


def test_a_temperature_that_nothing_keeps_from_a_step_on() -> None:
    problem = make_problem()
    optimizer = QUANTIZED.make(problem.named(), temperature=wrong_from(3, 1.0, 0.0))
    problem.run(optimizer, [1, 2])
    problem.set_grads(3)
    with unchanged(optimizer), pytest.raises(HyperparameterError, match="needs a CalibratedResolution"):
        optimizer.step()


@pytest.mark.parametrize("form", ["SGLD", "SGLD with momentum", *FORMS_OF_COOLING])
@pytest.mark.parametrize(
    "grid", [Grid(CalibratedResolution()), Grid(64.0, "noise"), Grid(CalibratedResolution(), "noise")], ids=str
)
def test_a_thermostat_where_other_noise_is_one(form: str, grid: Grid) -> None:
    for field in ("update_quantizer", "grad_quantizer"):
        with pytest.raises(HyperparameterError, match=field) as error:
            FORMS[form].make(make_problem().list(), **{field: grid})
        assert repr(grid) in str(error.value)
    problem = make_problem()
    optimizer = FORMS[form].make(problem.list())
    problem.run(optimizer, [1])
    saved = optimizer.state_dict()
    saved["param_groups"][0]["update_quantizer"] = grid
    with unchanged(optimizer), pytest.raises(StateDictError, match="update_quantizer"):
        optimizer.load_state_dict(saved)


@pytest.mark.parametrize("grid", [Grid(CalibratedResolution()), Grid(64.0, "noise"), Grid(AdaptiveResolution())], ids=str)
def test_the_gradient_s_grid_knows_no_displacement(grid: Grid) -> None:
    for form in FORMS.values():
        with pytest.raises(HyperparameterError, match="grad_quantizer must be a Grid of its own resolution"):
            form.make(make_problem().list(), grad_quantizer=grid)


@pytest.mark.parametrize("options", [{"dampening": 0.5}, {"nesterov": True}], ids=str)
@pytest.mark.parametrize("grid", [Grid(64.0, "noise"), Grid(CalibratedResolution())], ids=str)
def test_a_thermostat_without_a_law(grid: Grid, options: dict[str, Any]) -> None:
    temperature = 0.0 if grid.rounding == "noise" else 0.1
    with pytest.raises(HyperparameterError, match=f"{next(iter(options))}.* no known law"):
        FORMS["QuantizedSGD, calibrated"].make(
            make_problem().list(), update_quantizer=grid, momentum=0.9, temperature=temperature, **options
        )


@pytest.mark.parametrize("value", [0.5, "tanh", True, Compensation, Grid(64.0), (1.0, 2)], ids=str)
def test_a_compensation_of_another_type(value: Any) -> None:
    with pytest.raises(HyperparameterError, match=r"compensation must be a qlangevin.quantizers.Compensation or None, got "):
        QUANTIZED.make(make_problem().list(), compensation=value)


def test_a_calibrated_resolution_below_binary32_s_spacing() -> None:
    form = FORMS["QuantizedSGD, calibrated"]
    with pytest.raises(HyperparameterError, match=r"temperature = 1e\+38 with lr = 1e\+38"):
        form.make(make_problem().list(), lr=1e38, temperature=1e38)
    form.make(make_problem().list(), lr=0.25, temperature=3e38)


@pytest.mark.parametrize(
    "options", [{"temperature": 1e-300}, {"update_quantizer": Grid(1e-30, "noise"), "temperature": 0.0}], ids=str
)
def test_an_lr_below_binary32_is_lr_0(options: dict[str, Any]) -> None:
    problem = make_problem()
    start = problem.values()
    optimizer = FORMS["QuantizedSGD, calibrated"].make(problem.named(), lr=1e-310, **options)
    optimizer.collect_metrics()
    problem.run(optimizer, [1, 2])
    optimizer.metrics()
    assert all(value.equal(start[name]) for name, value in problem.values().items())


def test_cool_momentum_needs_a_momentum_and_quantized_sgd_its_two_choices() -> None:
    params = make_problem().list()
    with pytest.raises(TypeError, match="momentum"):
        CoolMomentum(params, 0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"update_quantizer.*compensation"):
        QuantizedSGD(params, 0.1)  # type: ignore[call-arg]
    with pytest.raises(HyperparameterError, match="momentum must be a number or a schedule"):
        CoolMomentum(params, 0.1, momentum=schedules.Cooling)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        SGLD(params, 0.1, temperature=0.0, compensation=None)  # type: ignore[call-arg]


@pytest.mark.parametrize("measures", [False, True])
def test_the_end_of_cooling_is_told_once(measures: bool) -> None:
    problem = make_problem()
    groups = [{"params": problem.named()[:2]}, {"params": problem.named()[2:]}]
    optimizer = COOL.make(groups, momentum=schedules.Cooling(3))
    optimizer.collect_metrics(measures)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        problem.run(optimizer, [1, 2, 3])
        assert not told
        for step in range(4, 9):
            problem.without_grads = {"p1"} if step % 2 else set()  # so that each step plans anew
            problem.run(optimizer, [step])
            assert optimizer.resolve(optimizer.param_groups[0], step)["momentum"] == 0.0
    assert [str(one.message) for one in told] == ["Cooling is over after 3 steps: momentum stays 0 from now on"]


def test_the_end_of_cooling_is_told_to_a_run_that_resumes_beyond_it() -> None:
    problem = make_problem()
    optimizer = COOL.make(problem.named(), momentum=schedules.Cooling(100))
    problem.run(optimizer, [1, 2, 3])
    optimizer.param_groups[0]["momentum"] = schedules.Cooling(2)
    with pytest.warns(UserWarning, match="over after 2 steps"):
        problem.run(optimizer, [4])


def test_a_refused_schedule_writes_nothing_in_sgld_either() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), momentum=wrong_from(2, 1.5, 0.5))
    problem.run(optimizer, [1])
    problem.set_grads(2)
    with unchanged(optimizer), pytest.raises(HyperparameterError, match=r"momentum .* got 1\.5 at step 2"):
        optimizer.step()
