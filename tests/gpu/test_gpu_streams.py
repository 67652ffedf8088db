"""Streams: side streams, two optimizers in flight, memory that is given back while kernels run."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

from qlangevin import SGLD
from tests.optim.snapshots import assert_same

from .device import BACKEND, CPU, DEVICE, ON_HOST, ORACLE, SMALL, needs_device, needs_gpu, synchronize
from .problems import make_device_problem, make_optimizer, result_of, run_oracle

pytestmark = needs_device

LONG = 500_000_000  # cycles: some tenths of a second
LARGE = 1 << (10 if SMALL else 22)


def new_streams(count: int) -> list[Any]:
    """Streams that wait for what has been queued; none on the host."""
    if ON_HOST:
        return [None] * count
    streams = [torch.cuda.Stream(DEVICE) for _ in range(count)]
    for stream in streams:
        stream.wait_stream(torch.cuda.current_stream(DEVICE))
    return streams


@pytest.mark.parametrize("form", ["SGLD with momentum", "QuantizedSGD, published", "QuantizedSGD, adaptive"])
@pytest.mark.parametrize("capturable", [False, True])
def test_steps_on_a_side_stream(form: str, capturable: bool) -> None:
    """The first step here, the others there, clipped: norms and rows are made on the stream of the step."""
    if capturable and form == "QuantizedSGD, adaptive":
        return  # it needs the host
    problem = make_device_problem(DEVICE)
    optimizer = make_optimizer(form, problem, BACKEND, capturable=capturable, max_grad_norm=0.5)
    optimizer.tabulate_schedules(4 if capturable else None)
    problem.run(optimizer, [1])
    (stream,) = new_streams(1)
    with torch.cuda.stream(stream):
        problem.run(optimizer, [2, 3, 4])
    synchronize()
    assert_same(result_of(optimizer, problem), run_oracle(form, ORACLE, [1, 2, 3, 4], max_grad_norm=0.5))


def make_large(seed: int, device: torch.device) -> tuple[torch.nn.Parameter, Any]:
    """A parameter whose step takes a while, and its optimizer."""
    param = torch.nn.Parameter(torch.full((LARGE,), 0.5).to(device))
    param.grad = torch.linspace(-1, 1, LARGE).to(device)
    options: dict[str, Any] = {"temperature": 0.1, "momentum": 0.9, "max_grad_norm": 1.0}
    return param, SGLD([param], 0.01, seed=seed, backend=BACKEND if device == DEVICE else ORACLE, **options)


def test_two_optimizers_in_flight_on_two_streams() -> None:
    pairs = [make_large(seed, DEVICE) for seed in (1, 2)]
    streams = new_streams(2)
    for _ in range(4):
        for (_, optimizer), stream in zip(pairs, streams, strict=True):
            with torch.cuda.stream(stream):
                optimizer.step()
    synchronize()
    for seed, (param, _) in enumerate(pairs, 1):
        if ON_HOST or seed == 1:
            wanted, optimizer = make_large(seed, CPU)
            optimizer.backend = ORACLE
            for _ in range(4):
                optimizer.step()
            assert_same({"param": param.detach().cpu()}, {"param": wanted.detach()})


@needs_gpu
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_optimizer_may_go_while_its_kernels_wait(momentum: float) -> None:
    """What its plan holds on the device must not be handed to others before the step, which another stream queued, is done."""
    names = ("a", "f")
    problem = make_device_problem(DEVICE, (torch.float32,))
    optimizer = SGLD(problem.named(), 0.05, temperature=0.3, momentum=momentum, seed=7, backend=BACKEND, max_grad_norm=0.5)
    problem.run(optimizer, [1])
    problem.set_grads(2)
    kept = [dict(state) for state in optimizer.state.values()]  # the states are the user's to keep, as those of torch.optim
    grads = [param.grad for param in problem.params.values()]
    (stream,) = new_streams(1)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(LONG)
        optimizer.step()
    del optimizer
    gc.collect()
    junk = [torch.full((size,), 0xA5, dtype=torch.uint8, device=DEVICE) for size in (512, 4096, 65536) for _ in range(200)]
    synchronize()
    assert junk and kept and grads
    wanted = make_device_problem(CPU, (torch.float32,))
    other = SGLD(wanted.named(), 0.05, temperature=0.3, momentum=momentum, seed=7, backend=ORACLE, max_grad_norm=0.5)
    wanted.run(other, [1, 2])
    got = {name: problem.params[name].detach().cpu() for name in names}
    assert_same(got, {name: wanted.params[name].detach() for name in names})


@needs_gpu
def test_gradients_may_go_right_after_the_step() -> None:
    """zero_grad frees them while the step that reads them has not begun; on one stream that is safe."""
    problem = make_device_problem(DEVICE)
    optimizer = make_optimizer("SGLD with momentum", problem, BACKEND)
    for step in (1, 2, 3):
        problem.set_grads(step)
        torch.cuda._sleep(LONG // 20)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    assert_same(result_of(optimizer, problem), run_oracle("SGLD with momentum", ORACLE, [1, 2, 3]))
