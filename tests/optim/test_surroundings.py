"""What lies around a step: the default device, memory that was freed, a refusal that is asked for again."""

from __future__ import annotations

import pytest
import torch

from qlangevin import SGLD, HyperparameterError, TensorError, quantizers, temperature

BACKENDS = ("native", "reference")


def make_param(*size: int) -> torch.nn.Parameter:
    param = torch.nn.Parameter(torch.ones(*size))
    param.grad = torch.ones(*size)
    return param


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_default_device_does_not_matter(backend: str) -> None:
    params = [make_param(5), make_param(5)]
    for param, device in zip(params, ("cpu", "meta"), strict=True):
        optimizer = SGLD([param], lr=0.1, temperature=1.0, momentum=0.9, max_grad_norm=1.0, seed=1, backend=backend)
        torch.set_default_device(device)
        try:
            optimizer.step()
        finally:
            torch.set_default_device(None)
        assert optimizer.state[param]["step"].device.type == "cpu"
    assert torch.equal(*params)


@pytest.mark.parametrize("steps_before", [0, 1])
def test_what_was_refused_is_refused_again(steps_before: int) -> None:
    params = [make_param(3), make_param(3)]
    optimizer = SGLD([{"params": [param]} for param in params], lr=0.1, temperature=1.0)
    for _ in range(steps_before):
        optimizer.step()
    optimizer.param_groups[0]["chain"] = 5
    for _ in range(2):
        with pytest.raises(HyperparameterError, match="chain"):
            optimizer.step()
    assert len(optimizer.state) == 2 * steps_before
    optimizer.param_groups[1]["chain"] = 5
    optimizer.step()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_gradient_without_memory_is_refused(backend: str, steps_before: int) -> None:
    param = make_param(4)
    optimizer = SGLD([make_param(0), param], lr=0.1, temperature=0.0, backend=backend)  # an empty tensor has no address either
    for _ in range(steps_before):
        optimizer.step()
    before = param.detach().clone()
    param.grad = torch._efficientzerotensor((4,))
    with pytest.raises(TensorError, match="no memory"):
        optimizer.step()
    assert torch.equal(param, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps_before", [0, 1])
@pytest.mark.parametrize("strides", [(3, 1), (1, 4), (0, 1)])
@pytest.mark.parametrize("size", [0, 136])
def test_a_gradient_or_state_inside_memory_that_was_freed_is_refused(
    backend: str, steps_before: int, strides: tuple[int, int], size: int
) -> None:
    """A view of a storage without memory has an address, its offset."""
    param = make_param(12)
    param.data = param.data.view(4, 3)
    param.grad = torch.ones(4, 3)
    optimizer = SGLD([param], lr=0.1, temperature=0.0, momentum=0.5, backend=backend)
    for _ in range(steps_before):
        optimizer.step()
    before = param.detach().clone()
    inside = torch.ones(100).as_strided((4, 3), strides, 32)
    inside.untyped_storage().resize_(size)
    if steps_before == 1 and size == 0:
        param.grad = inside
        with pytest.raises(TensorError, match=r"gradient .* memory"):
            optimizer.step()
        param.grad = torch.ones(4, 3)
    optimizer.state[param]["momentum_buffer"] = inside
    with pytest.raises(TensorError, match=r"state .* (memory|storage)"):
        optimizer.step()
    assert torch.equal(param, before)


def test_a_storage_that_was_shrunk_is_refused() -> None:
    param = make_param(1000)
    optimizer = SGLD([param], lr=0.1, temperature=0.0)
    param.untyped_storage().resize_(4)
    with pytest.raises(TensorError, match="storage"):
        optimizer.step()


def test_a_negated_parameter_is_refused_and_a_negated_state_is_read() -> None:
    negated = torch._neg_view(torch.full((4,), -1.0)).requires_grad_()
    negated.grad = torch.ones(4)
    with pytest.raises(TensorError, match="negated"):
        SGLD([negated], lr=0.1, temperature=0.0).step()
    param = make_param(4)
    optimizer = SGLD([param], lr=0.1, temperature=0.0, momentum=0.5)
    optimizer.state[param] = {"step": torch.tensor(1), "momentum_buffer": torch._neg_view(torch.full((4,), -2.0))}
    optimizer.step()
    assert torch.equal(optimizer.state[param]["momentum_buffer"], torch.full((4,), 2.0))


@pytest.mark.parametrize("step", [float("nan"), 2**70, "x", None, torch.ones(2)])
def test_a_counter_set_by_hand_is_checked(step: object) -> None:
    param = make_param(4)
    optimizer = SGLD([param], lr=0.1, temperature=0.0)
    optimizer.step()
    before = param.detach().clone()
    optimizer.state[param]["step"] = step
    with pytest.raises(TensorError, match="step"):
        optimizer.step()
    assert torch.equal(param, before)


def test_a_resolution_tensor_is_read_each_step() -> None:
    resolution = torch.tensor(1.0)
    param = make_param(1)
    grid = quantizers.Grid(resolution)  # type: ignore[arg-type]
    optimizer = SGLD([param], lr=0.25, temperature=0.0, update_quantizer=grid)
    optimizer.step()
    assert param.item() == 1.0
    resolution.fill_(4.0)
    optimizer.step()
    assert param.item() == 0.75


@pytest.mark.parametrize("convert", [lambda: temperature.from_sigma(1e200), lambda: temperature.from_nbeta(5e-324)])
def test_a_temperature_beyond_range_is_refused(convert: object) -> None:
    with pytest.raises(HyperparameterError):
        convert()  # type: ignore[operator]


def test_a_first_step_at_lr_0_of_one_group_alone_is_a_step() -> None:
    params = [make_param(3), make_param(3)]
    optimizer = SGLD([{"params": [params[0]], "lr": 0.0}, {"params": [params[1]]}], lr=0.1, temperature=1.0)
    for param in params:
        param.grad = torch.zeros(3)
    optimizer.step()
    assert [int(optimizer.state[param]["step"]) for param in params] == [1, 1]
    assert torch.equal(params[0], torch.ones(3)) and not torch.equal(params[1], torch.ones(3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_parameter_appended_by_hand_is_stepped(backend: str) -> None:
    params = [make_param(3), make_param(3)]
    optimizer = SGLD(params[:1], lr=0.1, temperature=0.0, backend=backend)
    optimizer.step()
    optimizer.param_groups[0]["params"].append(params[1])
    optimizer.step()
    assert [int(optimizer.state[param]["step"]) for param in params] == [2, 1]
