"""Metrics in every form of every optimizer: equal bits on both backends, no bit changed, nothing done when they are off."""

from __future__ import annotations

import copy
import gc
import itertools
import math
import pickle
from typing import Any
from unittest import mock

import pytest
import torch

from qlangevin import HyperparameterError, _native, reference
from qlangevin.backends import cuda, native, triton
from qlangevin.metrics import Metrics

from .launches import refuse
from .optimizers import BACKENDS, FORMS
from .problems import Problem, make_problem
from .snapshots import assert_same
from .test_every_optimizer import make_mixed, result_of

STEPS = range(1, 5)
Plain = list[dict[str, Any]]


def numbers(metrics: Metrics) -> Plain:
    """All values as text that is equal only for equal bits; every NaN equals every other."""

    def text(value: Any) -> str:
        return "nan" if math.isnan(float(value)) else float(value).hex()

    tensors = {name: {key: text(value) for key, value in of.items()} for name, of in metrics.tensors.items()}
    groups = [{key: text(value) for key, value in group.items()} for group in metrics.groups]
    return [tensors, *groups]


def run_measured(form: str, backend: str, enabled: bool = True, **options: Any) -> tuple[list[Plain], dict[str, Any]]:
    """Two groups over several buckets; b joins at the third step, f and the whole second group have gradients at times."""
    problem = make_mixed()
    named = problem.named()
    optimizer = FORMS[form].make([{"params": named[:3]}, {"params": named[3:], "lr": 0.2}], backend=backend, **options)
    optimizer.collect_metrics(enabled)
    found = []
    for step in STEPS:
        problem.without_grads = ({"b"} if step < 3 else set()) | ({"d", "f"} if step % 2 else set())
        problem.run(optimizer, [step])
        if enabled:
            metrics = optimizer.metrics()
            stepped = {name for name in problem.params if name not in problem.without_grads and name != "e"}
            assert set(metrics.tensors) == stepped
            assert (metrics.groups[1] == {}) == (step % 2 == 1)  # of e, the empty tensor, there is nothing to tell
            found.append(numbers(metrics))
    return found, result_of(optimizer, problem)


OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "clipped": {"max_grad_norm": 0.5, "maximize": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_native_metrics_are_the_reference_s_and_change_no_bit(form: str, options: str) -> None:
    found, result = run_measured(form, "native", **OPTIONS[options])
    wanted, other = run_measured(form, "reference", **OPTIONS[options])
    assert found == wanted
    assert_same(result, other)
    _, plain = run_measured(form, "native", enabled=False, **OPTIONS[options])
    assert_same(result, plain)


@pytest.mark.parametrize("form", FORMS)
def test_a_gradient_that_is_not_finite_is_told_alike(form: str) -> None:
    found = []
    for backend in BACKENDS:
        problem = make_problem()
        optimizer = FORMS[form].make(problem.named(), backend=backend)
        optimizer.collect_metrics()
        problem.set_grads(1)
        for name, value in {"p0": math.nan, "p3": math.inf}.items():
            problem.params[name].grad.view(-1)[4] = value  # type: ignore[union-attr]
        optimizer.step()
        metrics = optimizer.metrics()
        assert math.isnan(float(metrics.tensors["p0"]["grad_norm"])) and float(metrics.tensors["p3"]["grad_norm"]) == math.inf
        assert math.isfinite(float(metrics.tensors["p1"]["grad_norm"]))
        found.append(numbers(metrics))
    assert found[0] == found[1]


LOOKS_AHEAD = {form for form in FORMS if "adaptive" in form or FORMS[form].options.get("compensation") is not None}


@pytest.mark.parametrize("form", [form for form in FORMS if form not in LOOKS_AHEAD])
def test_without_metrics_nothing_is_observed_or_looked_at_ahead(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem()
    optimizer = FORMS[form].make(problem.named())
    problem.run(optimizer, [1])
    observed: list[bool] = []
    module = mock.Mock(wraps=_native)
    module.step_together = lambda plans, inputs, observes: (
        observed.append(observes) or _native.step_together(plans, inputs, observes)
    )
    monkeypatch.setattr(native, "_native", module)
    for backend in (cuda, triton):
        step = backend.step_together
        monkeypatch.setattr(
            backend, "step_together", lambda parts, observes, step=step: observed.append(observes) or step(parts, observes)
        )
    for plan in (native.NativePlan, cuda.CudaPlan, triton.TritonPlan):
        monkeypatch.setattr(plan, "look_ahead", refuse)
    problem.run(optimizer, [2, 3])
    assert observed == [False, False]
    optimizer.collect_metrics()
    problem.run(optimizer, [4])
    assert observed == [False, False, True]
    optimizer.collect_metrics(False)
    problem.run(optimizer, [5])
    assert observed == [False, False, True, False]
    other = FORMS[form].make(problem.named(), backend="reference")
    monkeypatch.setattr(reference, "observe", None)
    monkeypatch.setattr(reference, "look_ahead", None)
    problem.run(other, [1, 2])


def measured_once(backend: str) -> tuple[Problem, Any]:
    problem = make_problem()
    optimizer = FORMS["SGLD with momentum"].make(problem.named(), backend=backend)
    optimizer.collect_metrics()
    problem.run(optimizer, [1])
    return problem, optimizer


@pytest.mark.parametrize("backend", BACKENDS)
def test_they_are_of_the_last_step_that_was_taken(backend: str) -> None:
    problem, optimizer = measured_once(backend)
    first = numbers(optimizer.metrics())
    optimizer.zero_grad()
    optimizer.step()  # no gradient anywhere
    assert numbers(optimizer.metrics()) == first
    problem.set_grads(2)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert numbers(optimizer.metrics()) == first
    optimizer.found_inf = None
    optimizer.param_groups[0]["lr"] = -1.0
    with pytest.raises(HyperparameterError):
        optimizer.step()
    assert numbers(optimizer.metrics()) == first
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.reseed(99)
    assert numbers(optimizer.metrics()) == first
    optimizer.step()
    assert numbers(optimizer.metrics()) != first


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_measured_step_there_are_none(backend: str) -> None:
    problem = make_problem()
    optimizer = FORMS["SGLD"].make(problem.named(), backend=backend)

    def refused() -> None:
        with pytest.raises(HyperparameterError, match="collect_metrics"):
            optimizer.metrics()

    refused()
    problem.run(optimizer, [1])  # off at first
    refused()
    optimizer.collect_metrics()
    refused()
    optimizer.zero_grad()
    optimizer.step()
    refused()
    problem.run(optimizer, [2])
    optimizer.metrics()
    optimizer.collect_metrics(False)
    refused()
    optimizer.collect_metrics()
    refused()
    problem.run(optimizer, [3])
    optimizer.metrics()
    optimizer.load_state_dict(optimizer.state_dict())  # another run's, perhaps
    refused()
    problem.run(optimizer, [4])
    optimizer.metrics()


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_outlive_later_steps_and_the_parameters(backend: str) -> None:
    problem, optimizer = measured_once(backend)
    metrics = optimizer.metrics()
    first = numbers(metrics)
    problem.run(optimizer, [2, 3])
    assert numbers(metrics) == first and numbers(optimizer.metrics()) != first
    del problem, optimizer
    gc.collect()
    assert numbers(metrics) == first
    for of in metrics.tensors.values():
        assert all(value.dtype == torch.float64 and value.ndim == 0 and value.device.type == "cpu" for value in of.values())


def test_the_default_device_does_not_matter() -> None:
    found = []
    for device in ("cpu", "meta"):
        problem = make_problem()
        optimizer = FORMS["QuantizedSGD, adaptive"].make(problem.named())
        optimizer.collect_metrics()
        problem.set_grads(1)
        torch.set_default_device(device)
        try:
            optimizer.step()
            found.append(numbers(optimizer.metrics()))
        finally:
            torch.set_default_device(None)
    assert found[0] == found[1]


def test_every_third_step_is_measured() -> None:
    problem = make_problem()
    optimizer = FORMS["SGLD"].make(problem.named())
    optimizer.collect_metrics(every=3)
    measured = []
    for step in range(1, 8):
        problem.run(optimizer, [step])
        measured.append(numbers(optimizer.metrics()))
    assert [now != before for before, now in itertools.pairwise(measured)] == [False, False, True, False, False, True]


@pytest.mark.parametrize("every", [-1, 1.5, "2", None])
def test_metrics_of_no_number_of_steps(every: Any) -> None:
    with pytest.raises(HyperparameterError, match="every must be an integer"):
        FORMS["SGLD"].make(make_problem().named()).collect_metrics(every)


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
def test_a_copy_goes_on_measuring(copy_of: Any) -> None:
    problem = make_problem()
    optimizer = FORMS["SGLD"].make(problem.named())
    optimizer.collect_metrics(every=2)
    problem.run(optimizer, [1])
    other = copy_of(optimizer)
    with pytest.raises(HyperparameterError, match="collect_metrics"):
        other.metrics()
    for step in (2, 3):
        for param in other.param_groups[0]["params"]:
            param.grad = torch.full_like(param, float(step))
        other.step()
    assert len(other.metrics().tensors) == len(problem.params)
