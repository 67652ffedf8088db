"""Every metric on both backends against a plain binary64 computation from what a step took and left."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from qlangevin import CoolMomentum, QuantizedSGD
from qlangevin.quantizers import AdaptiveResolution, CalibratedResolution, Compensation, Grid, LogResolution
from tests.tolerances import bound

from .optimizers import BACKENDS
from .problems import SHAPES, Problem, make_problem, make_sgld

LR = 0.25
RTOL = bound("binary64_law")  # of sums in another order; the values themselves are compared as they are stored
OF_ALL = {"grad_norm", "update_norm", "noise_norm", "unmoved", "zeroed", "rounding_over_noise"}
OF_GRIDS = {"spread_times_resolution", "quantizer_bias"}


def from_zero(make: Any, steps: int = 1, factor: float = 1.0, dtype: torch.dtype = torch.float32) -> tuple[Problem, Any]:
    """A measured run whose parameters are set to 0 before each step, so that they are the displacement after it."""
    problem = make_problem(dtype=dtype)
    optimizer = make(problem.named())
    optimizer.collect_metrics()
    for step in range(1, steps + 1):
        for param in problem.list():
            param.data.zero_()
        problem.set_grads(step, factor)
        optimizer.step()
    return problem, optimizer


def array(tensor: torch.Tensor | None) -> np.ndarray[Any, Any]:
    """The flat values in binary64."""
    assert tensor is not None
    return tensor.detach().double().flatten().numpy()


def quantized(backend: str, grid: Grid | None, compensation: Compensation | None = None, **options: Any) -> Any:
    return lambda params: QuantizedSGD(
        params, **{"lr": LR, "update_quantizer": grid, "compensation": compensation, "seed": 7, "backend": backend, **options}
    )


def check(got: torch.Tensor | float, wanted: float, rtol: float = RTOL) -> None:
    assert math.isclose(float(got), wanted, rel_tol=rtol, abs_tol=1e-300), (float(got), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"maximize": True}, {"grad_quantizer": Grid(2.0)}, {"weight_decay": 3.0}], ids=str)
def test_grad_norm_is_of_the_unscaled_clipped_gradient(options: dict[str, Any], backend: str) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), backend=backend, max_grad_norm=0.5, **options)
    optimizer.grad_scale = torch.tensor(8.0)  # type: ignore[attr-defined]
    optimizer.collect_metrics()
    problem.set_grads(1, factor=8.0)
    optimizer.step()
    metrics = optimizer.metrics()
    norms = {name: np.linalg.norm(array(param.grad)) / 8.0 for name, param in problem.params.items()}
    total = math.sqrt(sum(norm**2 for norm in norms.values()))
    for name, norm in norms.items():
        check(metrics.tensors[name]["grad_norm"], norm * 0.5 / (total + 1e-6), bound("metrics"))
    check(metrics.groups[0]["grad_norm"], 0.5 * total / (total + 1e-6), bound("metrics"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "floor", "dither"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.75}, {"compensation": Compensation(1.0, 2)}], ids=str)
def test_what_a_grid_is_measured_by(options: dict[str, Any], rounding: str, backend: str) -> None:
    resolution = 8.0
    free, _ = from_zero(quantized(backend, None, **options), 2)
    problem, optimizer = from_zero(quantized(backend, Grid(resolution, rounding), **options), 2)
    metrics = optimizer.metrics()
    before = {name: array(value) for name, value in free.values().items()}
    after = {name: array(value) for name, value in problem.values().items()}
    before["group"], after["group"] = (np.concatenate(list(values.values())) for values in (before, after))
    zeroed = 0.0
    for name, delta in after.items():
        measured = metrics.groups[0] if name == "group" else metrics.tensors[name]
        check(measured["update_norm"], float(np.linalg.norm(delta)))
        check(measured["zeroed"], float(np.mean(delta == 0)))
        check(measured["unmoved"], float(np.mean(delta == 0)))  # from 0 on it is the same
        assert float(measured["noise_norm"]) == 0.0
        # A variance is the difference of two sums of up to 1e-16 of the larger one; a root doubles the digits lost.
        spread = float(np.std(before[name])) * resolution
        assert abs(float(measured["spread_times_resolution"]) - spread) <= 1e-7 * (1 + spread)
        assert abs(float(measured["quantizer_bias"]) - float(np.mean(delta - before[name])) * resolution) <= 1e-12
        assert set(measured) == OF_ALL | OF_GRIDS | ({"quantizer_temperature"} if name == "group" else set())
        zeroed += float(measured["zeroed"])
    assert zeroed > 0 or rounding in ("floor", "dither")
    check(metrics.groups[0]["quantizer_temperature"], (1 - options.get("momentum", 0.0)) / (24 * LR * resolution**2))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_temperature_of_a_grid_follows_its_resolution(backend: str) -> None:
    grid = Grid(LogResolution(1, scale=64.0))
    for step, resolution in ((1, 32.0), (3, 64.0), (8, 128.0)):  # floor(log2(ln(t + 2))) is -1, 0, 1
        _, optimizer = from_zero(quantized(backend, grid, momentum=0.5), step)
        check(optimizer.metrics().groups[0]["quantizer_temperature"], 0.5 / (24 * LR * resolution**2))
    _, optimizer = from_zero(quantized(backend, Grid(AdaptiveResolution(start=9))), 1)
    check(optimizer.metrics().groups[0]["quantizer_temperature"], 1 / (24 * LR * 4.0**9))
    _, optimizer = from_zero(quantized(backend, Grid(AdaptiveResolution()), lr=2.0**-10), 1, factor=2.0**-4)
    reached = optimizer.param_groups[0]["resolution_exponent"]
    assert reached > 2
    check(optimizer.metrics().groups[0]["quantizer_temperature"], 1 / (24 * 2.0**-10 * 4.0**reached))
    _, optimizer = from_zero(quantized(backend, Grid(CalibratedResolution()), temperature=0.3, momentum=0.9), 1)
    check(optimizer.metrics().groups[0]["quantizer_temperature"], 0.3)
    assert float(optimizer.metrics().groups[0]["noise_norm"]) == 0.0  # type: ignore[arg-type]  # the grid is the only noise


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_on_the_displacement(backend: str) -> None:
    for make in (
        lambda params: make_sgld(params, lr=LR, temperature=0.5, backend=backend),
        quantized(backend, Grid(3.0, "noise")),
    ):
        problem, optimizer = from_zero(make, 2, factor=0.0)
        for name, value in problem.values().items():
            measured = optimizer.metrics().tensors[name]
            check(measured["noise_norm"], float(np.linalg.norm(array(value))))
            assert (
                float(measured["noise_norm"]) > 0 and float(measured["update_norm"]) == 0.0 and float(measured["zeroed"]) == 1.0
            )
            assert set(measured) == OF_ALL


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cool", [False, True])
def test_noise_in_the_velocity_is_measured_as_it_moves_the_parameter_in_this_step(cool: bool, backend: str) -> None:
    def make(params: Any) -> Any:
        if cool:
            return CoolMomentum(params, LR, momentum=0.75, temperature=0.5, seed=7, backend=backend)
        return make_sgld(params, lr=LR, temperature=0.5, momentum=0.75, backend=backend)

    first, _ = from_zero(make, 1, factor=0.0)
    second, optimizer = from_zero(make, 2, factor=0.0)
    for name, value in second.values().items():
        old = 0.75 * array(first.values()[name])
        fresh = float(np.linalg.norm(array(value) - old))
        limit = bound("metrics") * float(
            np.linalg.norm(array(value)) + np.linalg.norm(old)
        )  # both are rounded, their difference is not
        assert abs(float(optimizer.metrics().tensors[name]["noise_norm"]) - fresh) <= limit
        check(optimizer.metrics().tensors[name]["update_norm"], float(np.linalg.norm(array(value))))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_over_noise_and_unmoved(dtype: torch.dtype, rounding: str, backend: str) -> None:
    # A binary32 twin from the same values with the same gradients and noise is what is rounded.
    narrow, wide = make_problem(dtype=dtype), make_problem()
    options = {"lr": 2.0**-8, "temperature": 0.01, "backend": backend, "param_rounding": rounding}
    optimizer, twin = make_sgld(narrow.named(), **options), make_sgld(wide.named(), **options)
    narrow.set_grads(1)
    for name, param in wide.params.items():
        other = narrow.params[name].grad
        assert other is not None
        param.data.copy_(narrow.params[name])
        param.grad = other.float()
    start = narrow.values()
    optimizer.collect_metrics()
    twin.collect_metrics()
    optimizer.step()
    twin.step()
    unmoved = 0.0
    for name, value in narrow.values().items():
        measured = optimizer.metrics().tensors[name]
        errors = array(value) - array(wide.values()[name])
        check(measured["rounding_over_noise"], float(np.sum(errors**2)) / float(measured["noise_norm"]) ** 2)
        check(measured["unmoved"], float(np.mean(array(value) == array(start[name]))))
        unmoved += float(measured["unmoved"])
        assert float(twin.metrics().tensors[name]["rounding_over_noise"]) == 0.0
    if dtype == torch.bfloat16 and rounding == "nearest":
        assert unmoved > 0  # updates of about 2^-7 of values about 1, whose spacing is 2^-7


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_group_is_the_whole_of_its_tensors(backend: str) -> None:
    problem = make_problem({**{f"p{i}": shape for i, shape in enumerate(SHAPES)}, "idle": (3,)})
    problem.without_grads = {"idle"}
    named = problem.named()
    groups = [{"params": named[:3]}, {"params": named[3:4], "lr": 0.5}, {"params": named[4:]}]
    optimizer = make_sgld(groups, temperature=0.2, backend=backend)
    optimizer.collect_metrics()
    problem.run(optimizer, [1])
    metrics = optimizer.metrics()
    assert len(metrics.groups) == 3 and metrics.groups[2] == {}
    for group, members in zip(metrics.groups, (named[:3], named[3:4]), strict=False):
        sizes = np.array([param.numel() for _, param in members])
        for key in ("grad_norm", "update_norm", "noise_norm"):
            check(group[key], float(np.linalg.norm([float(metrics.tensors[name][key]) for name, _ in members])))
        for key in ("unmoved", "zeroed"):
            check(group[key], float(np.dot(sizes, [float(metrics.tensors[name][key]) for name, _ in members]) / sizes.sum()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grid", [None, Grid(8.0)])
def test_the_temperature_of_cool_momentum(grid: Grid | None, backend: str) -> None:
    problem, optimizer = from_zero(
        lambda params: CoolMomentum(params, LR, momentum=0.5, update_quantizer=grid, backend=backend, seed=7), 2
    )
    moved = np.concatenate([array(value) for value in problem.values().values()])
    group = optimizer.metrics().groups[0]
    check(group["temperature"], float(np.mean(moved**2)) / LR)
    assert set(group) == OF_ALL | {"temperature"} | (OF_GRIDS if grid else set())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grid", [Grid(math.inf), Grid(CalibratedResolution(), "dither")])
def test_a_grid_without_spacing_is_none(grid: Grid, backend: str) -> None:
    # CalibratedResolution is infinite at temperature 0, and at lr 0.
    for lr in (LR, 0.0):
        _, optimizer = from_zero(quantized(backend, grid, lr=lr))
        for measured in optimizer.metrics().tensors.values():
            assert set(measured) == OF_ALL
        group = optimizer.metrics().groups[0]
        assert group.get("quantizer_temperature") == (0.0 if lr else None)
    _, optimizer = from_zero(lambda params: CoolMomentum(params, 0.0, momentum=0.5, backend=backend))
    assert set(optimizer.metrics().groups[0]) == OF_ALL
