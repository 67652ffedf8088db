"""SGLD(noise="levy") beside everything else: scales at the ends of the range, groups, states, resuming, metrics, refusals."""

from __future__ import annotations

import copy
import math
import pickle
import random
import warnings
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import SGLD, BackendError, HyperparameterError, StateDictError, hyper, quantizers
from qlangevin.group_hypers import check_noise
from qlangevin.reference import make_row
from qlangevin.reference_numbers import round_once
from qlangevin.reference_rules import RULES
from tests.optim.optimizers import FORMS
from tests.optim.problems import make_problem, make_sgld
from tests.optim.snapshots import assert_same, states_by_name, unchanged
from tests.tolerances import bound

LEVY: dict[str, Any] = {"temperature": 0.3, "noise": "levy", "tail_index": 1.5}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BACKENDS = ("native", "reference")


def resolve(lr: float, temperature: float, tail_index: float) -> dict[str, Any]:
    group = make_sgld([Parameter(torch.ones(1))], lr, temperature=temperature, noise="levy", tail_index=tail_index).param_groups[
        0
    ]
    return hyper.resolve(group, SGLD.rule_fields, 1)


@pytest.mark.parametrize("seed", range(200))
def test_the_scale_of_a_step(seed: int) -> None:
    draw = random.Random(seed)
    lr, temperature, alpha = 10.0 ** draw.uniform(-44, 3), 10.0 ** draw.uniform(-300, 12), draw.choice((1.01, 1.5, 1.9, 2.0))
    scale = make_row(RULES["plain"], resolve(lr, temperature, alpha), 1.0, 1, 0).common.noise_scale
    wanted = math.exp((math.log(lr) + math.log(temperature)) / alpha)
    assert math.isclose(scale, wanted, rel_tol=2.0 * bound("binary32_scalar"), abs_tol=2.0**-149)


def test_a_scale_whose_largest_draws_leave_binary32_is_refused() -> None:
    for lr, temperature in ((1.0, 1e36), (1e38, 1e38), (1e-10, 3e38)):
        param = Parameter(torch.ones(1))
        param.grad = torch.ones(1)
        optimizer = make_sgld([param], lr, temperature=temperature, noise="levy", tail_index=1.01)
        with unchanged(optimizer), pytest.raises(HyperparameterError, match="largest draws of Levy noise"):
            optimizer.step()
    check_noise("plain", resolve(1.0, 1e25, 1.01), 1)
    assert round_once(1e-50) == 0.0  # at such an lr there is no noise
    check_noise("plain", resolve(1e-50, 3e38, 1.01), 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_at_lr_0_nothing_moves(backend: str, dtype: torch.dtype) -> None:
    values = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1.5]).to(dtype)
    for lr in (0.0, torch.tensor(0.0)):
        param = Parameter(values.clone())
        param.grad = torch.ones_like(param)
        SGLD([param], lr, **LEVY, backend=backend).step()
        assert param.detach().view(torch.uint8).equal(values.view(torch.uint8))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_at_temperature_0_it_is_the_plain_step(backend: str, dtype: torch.dtype) -> None:
    options = {"weight_decay": 0.1, "backend": backend}
    one, other = make_problem(dtype=dtype), make_problem(dtype=dtype)
    one.run(make_sgld(one.named(), **{**LEVY, "temperature": 0.0}, **options), [1, 2, 3])
    other.run(make_sgld(other.named(), **options), [1, 2, 3])
    assert_same(one.values(), other.values())


def test_at_temperature_0_in_binary32_it_is_torch_s_sgd() -> None:
    one, other = make_problem(), make_problem()
    one.run(make_sgld(one.named(), **{**LEVY, "temperature": 0.0}), [1, 2, 3])
    other.run(torch.optim.SGD(other.list(), 0.05, foreach=False), [1, 2, 3])
    for got, wanted in zip(one.list(), other.list(), strict=True):
        assert torch.allclose(got, wanted, rtol=bound("sgd_twin_param"), atol=bound("sgd_twin_update"))


OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "decayed": {"weight_decay": 0.1, "decoupled_weight_decay": True},
    "clipped": {"max_grad_norm": 0.1, "maximize": True},
    "quantized": {"update_quantizer": quantizers.Grid(1024.0, "dither"), "grad_quantizer": quantizers.Grid(64.0, "stochastic")},
    "on some": {"noise_on": ("p0", "p3")},
    "nearest": {"param_rounding": "nearest"},
}
SHAPES = ((3, 5), (7,), (), (2, 3, 4), (1001,))


@pytest.mark.parametrize("options", OPTIONS)
def test_native_is_within_a_rounding_of_the_reference(options: str) -> None:
    got, wanted = make_problem(SHAPES), make_problem(SHAPES)
    for problem, backend in ((got, "native"), (wanted, "reference")):
        named = problem.named()
        groups = [{"params": named[:2]}, {"params": named[2:4], "tail_index": 1.9}, {"params": named[4:], "noise": "uniform"}]
        groups[2]["tail_index"] = None
        problem.run(make_sgld(groups, backend=backend, **LEVY, **OPTIONS[options]), [1, 2, 3])
    for one, other in zip(got.list(), wanted.list(), strict=True):
        assert torch.allclose(one, other, rtol=3.0 * bound("scaled_levy"), atol=3.0 * bound("scaled_levy"))


def test_float64_parameters_on_the_reference() -> None:
    param = Parameter(torch.zeros(100, dtype=torch.float64))
    param.grad = torch.zeros_like(param)
    SGLD([("x", param)], 0.5, **LEVY, seed=1, backend="reference").step()
    other = Parameter(torch.zeros(100))
    other.grad = torch.zeros_like(other)
    SGLD([("x", other)], 0.5, **LEVY, seed=1, backend="reference").step()
    assert param.float().equal(other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_named_parameters_take_noise(backend: str) -> None:
    noisy, cold = make_problem(), make_problem()
    noisy.run(make_sgld(noisy.named(), **LEVY, noise_on=("p1",), backend=backend), [1, 2])
    cold.run(make_sgld(cold.named(), backend=backend), [1, 2])
    same = {name: noisy.params[name].equal(cold.params[name]) for name in noisy.params}
    assert same == {"p0": True, "p1": False, "p2": True, "p3": True}


@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_have_tail_indices_of_their_own_and_names_decide_the_draws(backend: str) -> None:
    problem = make_problem()
    named = problem.named()
    groups = [{"params": named[2:], "tail_index": 1.2}, {"params": named[:2]}]
    problem.run(make_sgld(groups, **LEVY, backend=backend), [1, 2])
    for tail_index, names in ((1.2, ("p2", "p3")), (1.5, ("p0", "p1"))):
        alone = make_problem()
        alone.run(make_sgld(alone.named(), **{**LEVY, "tail_index": tail_index}, backend=backend), [1, 2])
        assert all(problem.params[name].equal(alone.params[name]) for name in names)


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_and_tail_index_may_change_between_steps(backend: str) -> None:
    changing, fixed = make_problem(), make_problem()
    one = make_sgld(changing.named(), temperature=0.3, backend=backend)
    changing.run(one, [1])
    one.param_groups[0].update(noise="levy", tail_index=1.5)
    changing.run(one, [2])
    one.param_groups[0]["tail_index"] = 1.9
    changing.run(one, [3])
    other = make_sgld(fixed.named(), temperature=0.3, backend=backend)
    for step, options in ((1, {}), (2, {"noise": "levy", "tail_index": 1.5}), (3, {"noise": "levy", "tail_index": 1.9})):
        saved = other.state_dict()
        other = make_sgld(fixed.named(), temperature=0.3, backend=backend, **options)
        saved["param_groups"][0].update(noise="gaussian", tail_index=None)
        saved["param_groups"][0].update(options)
        other.load_state_dict(saved)
        fixed.run(other, [step])
    assert_same(changing.values(), fixed.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_resumed_equals_uninterrupted(backend: str, dtype: torch.dtype) -> None:
    whole, stopped = make_problem(dtype=dtype), make_problem(dtype=dtype)
    third = make_sgld(whole.named(), **LEVY, backend=backend)
    whole.run(third, range(1, 6))
    first = make_sgld(stopped.named(), **LEVY, backend=backend)
    stopped.run(first, [1, 2])
    second = SGLD(stopped.named(), 9.0, temperature=0.0, seed=99, backend=backend)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.param_groups[0]["tail_index"] == 1.5 and second.param_groups[0]["noise"] == "levy"
    stopped.run(second, [3, 4, 5])
    assert_same(stopped.values(), whole.values())
    assert_same(states_by_name(second, stopped.params), states_by_name(third, whole.params))


def test_states_saved_before_there_was_a_tail_index() -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), temperature=0.3)
    problem.run(optimizer, [1])
    old = optimizer.state_dict()
    del old["param_groups"][0]["tail_index"]
    other = make_sgld(problem.named(), temperature=1.0)
    other.load_state_dict(old)
    assert other.param_groups[0]["tail_index"] is None
    problem.run(other, [2])
    plain.run(make_sgld(plain.named(), temperature=0.3), [1, 2])
    assert_same(problem.values(), plain.values())
    with pytest.raises(StateDictError, match=r"tail_index = 1\.5 goes with noise = 'levy'"):
        make_sgld(problem.named(), **LEVY).load_state_dict(old)  # which has Gaussian noise


def test_an_optimizer_that_was_pickled_before_there_was_a_tail_index() -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), temperature=0.3)
    for holder in (optimizer.defaults, *optimizer.param_groups):
        del holder["tail_index"]
    optimizer, problem = pickle.loads(pickle.dumps((optimizer, problem)))
    assert optimizer.param_groups[0]["tail_index"] is None
    problem.run(optimizer, [1])
    plain.run(make_sgld(plain.named(), temperature=0.3), [1])
    assert_same(problem.values(), plain.values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_metrics_know_no_variance(backend: str) -> None:
    problem = make_problem([(4096,)], dtype=torch.bfloat16)
    optimizer = make_sgld(problem.named(), 1e-6, temperature=1e-6, noise="levy", tail_index=1.5, backend=backend)
    optimizer.collect_metrics()
    problem.run(optimizer, [1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (group,) = optimizer.metrics().groups
    assert math.isnan(group["rounding_over_noise"]) and 0.0 < float(group["noise_norm"]) < math.inf
    optimizer.param_groups[0]["tail_index"] = 2.0
    problem.run(optimizer, [2])
    with pytest.warns(UserWarning, match="heats the chain"):
        (group,) = optimizer.metrics().groups
    assert float(group["rounding_over_noise"]) > 1.0


@pytest.mark.parametrize("form", [name for name in FORMS if not name.startswith("SGLD")])
def test_other_optimizers_refuse_it_by_name(form: str) -> None:
    with pytest.raises(
        HyperparameterError, match=r"noise must be one of gaussian, uniform, rademacher, got 'levy', .*SGLD has it"
    ):
        FORMS[form].make([{"params": [Parameter(torch.ones(3))], "noise": "levy"}])


def test_triton_refuses_it() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **LEVY, backend="triton")
    problem.set_grads(1)
    with unchanged(optimizer), pytest.raises(BackendError, match="Usable for them: native, reference"):
        optimizer.step()


@pytest.mark.parametrize("steps_before", [0, 1])
def test_kernels_of_gpus_refuse_it(steps_before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qlangevin._gpu_on_host")
    monkeypatch.setenv("QLANGEVIN_GPU_ON_HOST", "1")
    problem = make_problem()
    optimizer = make_sgld(problem.named(), temperature=0.3, backend="native")
    problem.run(optimizer, range(1, steps_before + 1))
    optimizer.param_groups[0].update(LEVY)
    problem.set_grads(5)
    with unchanged(optimizer), pytest.raises(BackendError, match=r"no Levy noise on cpu devices.*Usable for them: reference"):
        optimizer.step()


def test_auto_takes_the_reference_where_a_gpu_s_kernels_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qlangevin._gpu_on_host")
    monkeypatch.setenv("QLANGEVIN_GPU_ON_HOST", "1")
    problem, plain = make_problem(), make_problem()
    with pytest.warns(RuntimeWarning, match="slow reference.*Levy noise"):
        problem.run(make_sgld(problem.named(), **LEVY), [1])
    plain.run(make_sgld(plain.named(), **LEVY, backend="reference"), [1])
    assert_same(problem.values(), plain.values())


def test_beside_levy_noise_the_other_buckets_keep_their_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qlangevin._gpu_on_host")
    problem, plain = make_problem(), make_problem()
    for one, on_gpu in ((problem, "1"), (plain, "0")):
        monkeypatch.setenv("QLANGEVIN_GPU_ON_HOST", on_gpu)
        groups = [
            {"params": one.named()[:2]},
            {"params": one.named()[2:], "momentum": 0.9, "noise": "uniform", "tail_index": None},
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            one.run(make_sgld(groups, **LEVY), [1, 2])
    assert all(problem.params[name].equal(plain.params[name]) for name in ("p2", "p3"))
    for name in ("p0", "p1"):
        assert torch.allclose(problem.params[name], plain.params[name], rtol=bound("levy"), atol=3.0 * bound("scaled_levy"))
