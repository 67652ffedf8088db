"""AdaptiveResolution: its exponent by hand, shared by its groups, never falling, kept where nothing is stepped, saved."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import SGLD, CoolMomentum, QuantizedSGD
from qlangevin.quantizers import AdaptiveResolution, Compensation, Grid
from qlangevin.thermostat import quantizer_temperature
from tests.tolerances import bound

from .optimizers import BACKENDS
from .snapshots import unchanged


class Run:
    """One parameter of two elements at lr 1 that starts each step at 0; a step gives where it went."""

    def __init__(self, resolution: AdaptiveResolution, rounding: str = "nearest", **options: Any) -> None:
        self.param = Parameter(torch.zeros(2))
        grid = Grid(resolution, rounding)
        options = {"lr": 1.0, "update_quantizer": grid, "compensation": None, "seed": 7, **options}
        self.optimizer = QuantizedSGD([self.param], **options)

    def step(self, *grad: float) -> list[float]:
        self.param.data.zero_()
        self.param.grad = torch.tensor(grad)
        self.optimizer.step()
        return [float(x) for x in self.param.tolist()]

    @property
    def exponent(self) -> int | None:
        return self.optimizer.param_groups[0].get("resolution_exponent")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_exponent_grows_until_an_update_reaches_half_a_spacing(backend: str) -> None:
    run = Run(AdaptiveResolution(), backend=backend)
    assert run.exponent is None
    assert run.step(-1.0, -0.1) == [1.0, 0.0] and run.exponent == 2  # 2^2 * 1 >= 1/2
    assert run.step(-0.125, 0.1) == [0.25, 0.0] and run.exponent == 2  # just half a spacing of 1/4: a tie, which goes up
    below = math.nextafter(0.125, 0.0)
    assert run.step(-0.124, -0.1) == [0.125, 0.125] and run.exponent == 3  # one grid finer: 0.124 * 8 = 0.992
    assert below < 0.125
    assert run.step(0.0, -0.01) == [0.0, 2.0**-6] and run.exponent == 6  # 0.01 * 2^6 = 0.64, 0.01 * 2^5 = 0.32
    assert run.step(-1.0, 0.0) == [1.0, 0.0] and run.exponent == 6  # it never falls
    assert run.step(0.01, 0.0) == [-(2.0**-6), 0.0] and run.exponent == 6  # the sign does not matter


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_ends_at_its_limit(backend: str) -> None:
    run = Run(AdaptiveResolution(start=3, limit=5), backend=backend)
    assert run.step(1e-9, 0.0) == [0.0, 0.0] and run.exponent == 5
    assert run.step(-1.0, 0.0) == [1.0, 0.0] and run.exponent == 5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lr", [1.0, 0.0])
def test_updates_that_are_all_0_raise_nothing(lr: float, backend: str) -> None:
    run = Run(AdaptiveResolution(), backend=backend)
    run.step(-1.0, 0.0)
    run.optimizer.param_groups[0]["lr"] = lr
    run.step(0.0, 0.0 if lr else 5.0)  # as in a warm-up that begins at lr 0
    assert run.exponent == 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("compensation", [None, Compensation(1.0, 1), Compensation(1.0, 1, norm="global")])
@pytest.mark.parametrize(("wrong", "exponent"), [(math.nan, 7), (math.inf, 2)])
def test_what_is_not_finite(wrong: float, exponent: int, compensation: Compensation | None, order: int, backend: str) -> None:
    # NaN is no update; an infinite one needs no finer grid. 0.005 needs 2^7, or less with its compensation.
    params = [Parameter(torch.zeros(2)) for _ in range(2)]
    for param, grad in zip(params[::order], ([wrong, wrong], [0.005, 0.0]), strict=True):
        param.grad = torch.tensor(grad)
    grid = Grid(AdaptiveResolution())
    optimizer = QuantizedSGD(params, 1.0, update_quantizer=grid, compensation=compensation, backend=backend)
    optimizer.step()
    if compensation is not None and math.isnan(wrong):  # s = 0.88 alone; with the global norm everything is NaN
        exponent = 2
    assert optimizer.param_groups[0]["resolution_exponent"] == exponent


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [1, -1])
def test_a_tensor_whose_norm_is_nan_does_not_count(order: int, backend: str) -> None:
    # h = 0.005 and r = 2^-8 / 2 in the other tensor: 0.00695 * 2^7 = 0.89.
    params = [Parameter(torch.zeros(2)) for _ in range(2)]
    for param, grad in zip(params[::order], ([math.nan, 1e-9], [0.005 * 256, 0.0]), strict=True):
        param.grad = torch.tensor(grad)
    grid, compensation = Grid(AdaptiveResolution()), Compensation(0.0, 1)
    optimizer = QuantizedSGD(params, 2.0**-8, update_quantizer=grid, compensation=compensation, backend=backend)
    optimizer.step()
    assert optimizer.param_groups[0]["resolution_exponent"] == 7


def test_the_compensation_counts() -> None:
    # h = 0.01 with r = s = 1/2 at the middle of the warm-up: 0.51 * 2^2 > 1/2.
    run = Run(AdaptiveResolution(start=0), compensation=Compensation(0.0, 1))
    assert run.step(-0.01, 0.0) == [1.0, 0.0] and run.exponent == 0
    later = Run(AdaptiveResolution(start=0), compensation=Compensation(0.0, 1, slope=100.0))
    later.step(-1.0, 0.0)
    assert later.step(-0.01, 0.0) == [2.0**-6, 0.0] and later.exponent == 6  # s = 0 by then


def test_the_least_exponent_of_the_cooling() -> None:
    resolution = AdaptiveResolution(batches_per_epoch=2, start=-3)
    for step in (1, 2, 5, 41, 401):
        t = (step - 1) / 2
        temperature = 2 ** (40 / (t + 2)) * 1e-6 / math.log(t + 2)
        wanted = math.ceil(math.log2(64 / (24 * temperature)) / 2)
        assert resolution.exponent_at(step, None) == wanted
        assert resolution.exponent_at(step, wanted + 2) == wanted + 2
    assert resolution.exponent_at(1, None) == 1  # T = 2^20 1e-6 / ln 2 = 1.51, 64 / 24 / T = 1.76
    assert resolution.exponent_at(401, None) == 12  # T = 2^(40 / 202) 1e-6 / ln 202 = 2.16e-7, 64 / 24 / T = 1.23e7
    assert AdaptiveResolution(2, limit=5).exponent_at(401, None) == 5
    assert AdaptiveResolution().exponent_at(10**6, None) == 2
    assert AdaptiveResolution(start=5).exponent_at(3, 4) == 5  # a start that was raised by hand


def test_the_cooling_raises_it_without_need() -> None:
    run = Run(AdaptiveResolution(batches_per_epoch=1, start=0))
    reached = []
    for step in range(1, 8):
        run.step(-1.0, 0.0)
        reached.append(run.exponent)
        assert run.exponent == AdaptiveResolution(1, start=0).exponent_at(step, None)
    assert reached[0] == 1 and reached == sorted(reached) and reached[-1] > 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_one_for_all_groups_also_for_one_that_joins_late(backend: str) -> None:
    params = [Parameter(torch.zeros(2)) for _ in range(4)]
    grid = Grid(AdaptiveResolution())
    groups = [{"params": [param]} for param in params[:2]] + [{"params": [params[2]], "update_quantizer": Grid(4.0)}]
    optimizer = QuantizedSGD(groups, 1.0, update_quantizer=grid, compensation=None, backend=backend)

    def step(*grads: float | None) -> list[int | None]:
        for param, grad in zip(params, grads, strict=False):
            param.grad = None if grad is None else torch.full((2,), grad)
        optimizer.step()
        return [group.get("resolution_exponent") for group in optimizer.param_groups]

    assert step(0.01, 0.05, 1.0) == [4, 4, None]  # 0.05 * 2^4 = 0.8; the third group's update does not count
    assert params[0].tolist() == [0.0, 0.0] and params[1].tolist() == [-0.0625, -0.0625]
    assert step(0.01, None, 1.0) == [6, 6, None]
    optimizer.add_param_group({"params": [params[3]]})
    assert step(1.0, 1.0, 1.0, 0.01) == [6, 6, None, 6]
    assert params[3].tolist() == [-(2.0**-6)] * 2


def test_groups_with_adaptive_resolutions_of_their_own() -> None:
    params = [Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [param], "update_quantizer": Grid(AdaptiveResolution(start=i))} for i, param in enumerate(params)]
    optimizer = QuantizedSGD(groups, 1.0, update_quantizer=None, compensation=None)
    params[0].grad, params[1].grad = torch.tensor([1.0]), torch.tensor([0.01])
    optimizer.step()
    assert [group["resolution_exponent"] for group in optimizer.param_groups] == [0, 6]


def test_it_is_kept_on_steps_that_are_skipped_or_refused() -> None:
    run = Run(AdaptiveResolution())
    run.step(0.01, 0.0)
    assert run.exponent == 6
    run.param.grad = torch.tensor([1e-5, 0.0])
    run.optimizer.found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]
    with unchanged(run.optimizer):
        run.optimizer.step()
    run.optimizer.found_inf = None  # type: ignore[attr-defined]
    run.optimizer.state[run.param]["step"].fill_(2**32 - 1)  # refused by the last of all checks
    with unchanged(run.optimizer), pytest.raises(ValueError, match="step"):
        run.optimizer.step()
    run.optimizer.zero_grad()
    with unchanged(run.optimizer):
        run.optimizer.step()


def test_it_is_saved_loaded_and_copied() -> None:
    run = Run(AdaptiveResolution())
    run.step(0.01, 0.0)
    saved = run.optimizer.state_dict()
    assert saved["param_groups"][0]["resolution_exponent"] == 6
    other = Run(AdaptiveResolution())
    other.optimizer.load_state_dict(saved)
    assert other.exponent == 6 and other.step(-0.5, 0.01) == [0.5, -(2.0**-6)]
    assert copy.deepcopy(run.optimizer).param_groups[0]["resolution_exponent"] == 6


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_has_the_temperature_of_the_resolution_that_the_step_reached(backend: str) -> None:
    run = Run(AdaptiveResolution(), "noise", lr=0.5, noise="rademacher", backend=backend)
    moved = run.step(0.004, 0.004)  # h = -0.002: 2^8 * 0.002 = 0.512
    assert run.exponent == 8
    scale = math.sqrt(2 * 0.5 * quantizer_temperature(256.0, 0.5, 0.0))  # of rounding errors: 1 / (256 sqrt 12)
    assert scale == pytest.approx(1 / (256 * math.sqrt(12)), rel=bound("closed_form"))
    assert all(abs(abs(x + 0.002) - scale) < bound("small_steps") for x in moved)


@pytest.mark.parametrize("kind", [SGLD, CoolMomentum])
def test_other_optimizers_may_have_it_too(kind: Any) -> None:
    param = Parameter(torch.zeros(1))
    options = {"temperature": 0.0} if kind is SGLD else {"momentum": 0.0}
    optimizer = kind([param], 1.0, update_quantizer=Grid(AdaptiveResolution()), **options)
    param.grad = torch.tensor([0.02])
    optimizer.step()
    assert optimizer.param_groups[0]["resolution_exponent"] == (5 if kind is SGLD else 6)  # CoolMomentum's first step is half
    assert param.item() == -(2.0**-5 if kind is SGLD else 2.0**-6)
