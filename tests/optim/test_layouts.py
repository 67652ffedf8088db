"""Memory layouts and dtypes: any dense parameter, any gradient; native = reference."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import SGLD

from .launches import only_native, only_reference
from .layouts import DENSE, GRADS
from .problems import draw, make_problem, make_sgld
from .snapshots import assert_same, describe_difference

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
EVERYTHING: dict[str, Any] = {
    "temperature": 0.3,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "param_rounding": "stochastic",
    "state_rounding": "stochastic",
}


def run_layout(layout: str, dtype: torch.dtype, backend: str) -> tuple[Parameter, SGLD]:
    shape, lay_out = DENSE[layout]
    param = Parameter(lay_out(draw("start", shape, dtype)))
    optimizer = make_sgld([("weight", param)], backend=backend, **EVERYTHING)
    for step in (1, 2):
        param.grad = lay_out(draw(f"grad {step}", shape, dtype))
        optimizer.step()
    return param, optimizer


@pytest.mark.parametrize("dtype", [F32, BF16, F16])
@pytest.mark.parametrize("layout", DENSE)
def test_native_equals_reference(layout: str, dtype: torch.dtype) -> None:
    with only_native() as launches:
        one, first = run_layout(layout, dtype, "native")
    assert launches.count == 2
    with only_reference():
        two, second = run_layout(layout, dtype, "reference")
    assert one.stride() == two.stride()
    assert_same({"param": one.detach(), **first.state[one]}, {"param": two.detach(), **second.state[two]})
    assert int(first.state[one]["step"]) == 2
    start = draw("start", one.shape, dtype)
    assert one.numel() == 0 or describe_difference(one.detach(), start)


@pytest.mark.parametrize("layout", [name for name, (shape, _) in DENSE.items() if len(shape) > 1])
def test_at_temperature_0_the_layout_does_not_matter(layout: str) -> None:
    shape, lay_out = DENSE[layout]
    results = []
    for make in (lay_out, Tensor.contiguous):
        param = Parameter(make(draw("start", shape, F32)))
        optimizer = make_sgld([param], momentum=0.9, weight_decay=0.1)
        for step in (1, 2):
            param.grad = make(draw(f"grad {step}", shape, F32))
            optimizer.step()
        results.append(param.detach())
    assert_same({"param": results[0]}, {"param": results[1]})


@pytest.mark.parametrize("layout", ["transposed", "channels_last", "permuted"])
def test_the_noise_follows_the_order_of_the_memory(layout: str) -> None:
    shape, lay_out = DENSE[layout]
    param, flat = Parameter(lay_out(torch.zeros(shape))), Parameter(torch.zeros(shape))
    for tensor in (param, flat):
        tensor.grad = torch.zeros_like(tensor)
        make_sgld([("weight", tensor)], temperature=1.0).step()
    in_memory = param.detach().as_strided((param.numel(),), (1,))
    assert_same({"noise": in_memory}, {"noise": flat.detach().reshape(-1)})


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("change_at", [1, 2])
@pytest.mark.parametrize(("param_layout", "grad_layout"), [*itertools.product(("contiguous", "transposed"), GRADS)])
def test_a_gradient_of_another_layout(param_layout: str, grad_layout: str, change_at: int, backend: str) -> None:
    results = []
    for layout in (grad_layout, param_layout):
        param = Parameter(GRADS[param_layout](draw("start", (6, 4), F32)))
        optimizer = make_sgld([("weight", param)], backend=backend, **EVERYTHING)
        for step in (1, 2, 3):
            values = GRADS[grad_layout](draw(f"grad {step}", (6, 4), F32)).clone(memory_format=torch.contiguous_format)
            param.grad = GRADS[layout if step == change_at else param_layout](values)
            optimizer.step()
        results.append({"param": param.detach(), **optimizer.state[param]})
    assert_same(results[0], results[1])


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("param", "grad"), [*itertools.product((F32, BF16, F16), repeat=2)])
def test_a_gradient_of_another_dtype(param: torch.dtype, grad: torch.dtype, backend: str) -> None:
    # Gradients that both dtypes hold exactly must act equally.
    problem, plain = make_problem(dtype=param), make_problem(dtype=param)
    optimizer = make_sgld(problem.named(), backend=backend, **EVERYTHING)
    twin = make_sgld(plain.named(), backend=backend, **EVERYTHING)
    for _ in range(2):
        for one, two in zip(problem.list(), plain.list(), strict=True):
            values = torch.arange(one.numel()).view(one.shape) / 8.0 - 1.0
            one.grad_dtype = grad
            one.grad, two.grad = values.to(grad), values.to(param)
        optimizer.step()
        twin.step()
    assert_same(problem.values(), plain.values())


def test_a_gradient_s_dtype_may_change_between_steps() -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), **EVERYTHING)
    twin = make_sgld(plain.named(), **EVERYTHING)
    for dtype in (F32, BF16, F32, F16):
        for one, two in zip(problem.list(), plain.list(), strict=True):
            values = torch.arange(one.numel()).view(one.shape) / 8.0 - 1.0
            one.grad = None
            one.grad_dtype = dtype
            one.grad, two.grad = values.to(dtype), values
        optimizer.step()
        twin.step()
    assert_same(problem.values(), plain.values())


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_gradient_that_is_a_lazily_negated_view(backend: str) -> None:
    # torch keeps the imaginary part of a conjugate as the unnegated memory and a bit.
    grad = torch.tensor([1.0 + 2.0j]).conj().imag
    assert grad.is_neg() and grad.is_contiguous()
    param = Parameter(torch.zeros(1))
    param.grad = grad
    make_sgld([param], lr=1.0, backend=backend).step()
    assert param.item() == 2.0


def test_binary64_goes_to_the_reference() -> None:
    problem, plain = make_problem(dtype=torch.float64), make_problem(dtype=torch.float64)
    optimizer = make_sgld(problem.named(), **EVERYTHING)
    with only_reference(), pytest.warns(RuntimeWarning, match="reference"):
        problem.run(optimizer, [1, 2])
    plain.run(make_sgld(plain.named(), backend="reference", **EVERYTHING), [1, 2])
    assert_same(problem.values(), plain.values())


def test_binary64_and_binary32_parameters_in_one_optimizer() -> None:
    wide, narrow = make_problem({"wide": (5,)}, torch.float64), make_problem({"narrow": (5,)})
    optimizer = make_sgld([*wide.named(), *narrow.named()], **EVERYTHING)
    wide.set_grads(1)
    narrow.set_grads(1)
    with pytest.warns(RuntimeWarning, match="reference"):
        optimizer.step()
    alone = make_problem({"narrow": (5,)})
    alone.run(make_sgld(alone.named(), **EVERYTHING), [1])
    assert_same(narrow.values(), alone.values())
