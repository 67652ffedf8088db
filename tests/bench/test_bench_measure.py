"""Alternation, spreads, bytes and speeds."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin.bench import measure
from qlangevin.bench.cases import F32, Case, EagerLangevin, torch_sgd
from qlangevin.bench.measure import (
    Clock,
    Settings,
    Spread,
    alternate,
    build,
    count_rounds,
    count_state_bytes,
    make_tensors,
    measure_list,
    moved_bytes,
    probe,
    wrap_params,
)
from tests.tolerances import bound

from .conftest import EAGER, FUSED, OURS, OURS_BF16, TINY

CPU = torch.device("cpu")


def test_each_round_times_every_case_once_after_the_same_copy() -> None:
    calls: list[str] = []
    seconds = iter(range(1, 100))

    def timer(step: Callable[[], object]) -> float:
        step()
        return float(next(seconds))

    steps = {name: lambda name=name: calls.append(name) for name in ("a", "b")}  # type: ignore[misc]
    times, copies = alternate(steps, timer, range(3), lambda: calls.append("copy"))
    assert calls == ["copy", "a", "copy", "b"] * 3
    assert times == {"a": [2.0, 6.0, 10.0], "b": [4.0, 8.0, 12.0]}
    assert copies == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]


def test_the_collector_rests_while_timing_and_returns_after_an_error() -> None:
    seen: list[bool] = []

    def fail() -> None:
        seen.append(gc.isenabled())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alternate({"a": fail}, Clock(CPU).time, range(1))
    assert seen == [False] and gc.isenabled()


def test_rounds_are_as_asked_or_as_the_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds_of(step: float) -> Iterator[float]:
        now = -step
        while True:
            now += step
            yield now

    for step, rounds, expected in ((0.0, None, 15), (0.0, 3, 3), (100.0, 3, 3), (100.0, None, 5), (2.0, None, 10)):
        clock = seconds_of(step)
        monkeypatch.setattr(measure.time, "perf_counter", lambda clock=clock: next(clock))
        assert len(list(count_rounds(Settings(CPU, rounds=rounds)))) == expected, (step, rounds)


def test_spread() -> None:
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_bytes_that_a_step_must_move() -> None:
    # float32 with momentum: reads parameter, gradient, velocity, writes parameter and velocity: 5 x 4 bytes an element.
    assert moved_bytes(10, 4, 10 * 4) == 10 * 20
    # bfloat16 without states: 3 x 2 bytes.
    assert moved_bytes(10, 2, 0) == 10 * 6


def test_speeds_are_bytes_over_time(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    # The copy reads and writes 8 KB in 4 us: 2.048 GB/s. A step takes 2 us.
    def timed(clock: Clock, step: Callable[[], object]) -> float:
        step()
        return 2e-6 if hasattr(step, "__self__") else 4e-6  # a step is a bound method, the copy a function

    monkeypatch.setattr(Clock, "time", timed)
    monkeypatch.setattr(Clock, "time_host", lambda clock, step: 6e-6)
    result = measure_list(TINY["first"], [FUSED, EAGER, OURS_BF16], settings)
    fused, eager, bf16 = result.figures
    assert result.copy_gb_per_s == pytest.approx(8192 / 4e-6 / 1e9, rel=bound("closed_form"))
    # 120 elements of 4 bytes: 2,400 bytes with momentum, 1,440 without; of 2 bytes with momentum: 1,200.
    assert [found.gb_per_s for found in result.figures] == pytest.approx([1.2, 0.72, 0.6], rel=bound("closed_form"))
    assert fused.copy_share == pytest.approx(1.2 / 2.048, rel=bound("closed_form"))
    assert fused.ms == Spread(2e-3, 2e-3, 2e-3)
    assert [found.host_us_per_tensor for found in result.figures] == pytest.approx(
        [2.0] * 3, rel=bound("closed_form")
    )  # 6 us for 3 tensors
    assert (fused.bytes_per_param, eager.bytes_per_param, bf16.bytes_per_param) == (12.0, 8.0, 6.0)
    assert result.rounds == 2


def test_cases_of_a_dtype_share_memory_and_have_their_own_states() -> None:
    cases = [FUSED, OURS, OURS_BF16]
    steppers = build(cases, [(40,), (2, 3)], CPU)
    fused, ours, bf16 = (list(steppers[case.name].state) for case in cases)
    assert [param.data_ptr() for param in fused] == [param.data_ptr() for param in ours]
    assert [param.grad.data_ptr() for param in fused] == [param.grad.data_ptr() for param in ours]
    assert fused[0].data_ptr() != bf16[0].data_ptr() and fused[0] is not ours[0]
    one, other = (next(v for v in steppers[c.name].state[p[0]].values() if v.dim()) for c, p in ((FUSED, fused), (OURS, ours)))
    assert one.data_ptr() != other.data_ptr()
    assert fused[1].shape == (2, 3)


def test_states_count_by_storage_without_counters_and_shared_ones_once() -> None:
    table = torch.zeros(256)

    stepper = EagerLangevin([])
    for i in range(3):
        codes = torch.zeros(100, dtype=torch.uint8)
        stepper.state[i] = {"step": torch.tensor(1.0), "codes": codes, "table": table, "none": None}
    assert count_state_bytes(stepper) == 3 * 100 + 4 * 256


def test_a_probe_tells_bytes_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PROBE_ELEMENTS", 64)

    class Broken(EagerLangevin):
        def step(self) -> None:
            raise ValueError("no such kernel\nsecond line")

    found, failed = probe([FUSED, Case("broken", F32, Broken, "eager"), OURS_BF16], CPU)
    assert found == {FUSED.name: 4.0, OURS_BF16.name: 2.0}
    assert [(entry.what, entry.why) for entry in failed] == [("broken", "its step fails: ValueError: no such kernel")]


def test_gradients_and_values_are_random_and_of_the_dtype() -> None:
    (value, grad), (other, _) = make_tensors([(50,), (50,)], torch.bfloat16, CPU)
    assert value.dtype == grad.dtype == torch.bfloat16
    assert not torch.equal(value, grad) and not torch.equal(value, other)
    again: list[tuple[Tensor, Tensor]] = make_tensors([(50,)], torch.bfloat16, CPU)
    assert torch.equal(again[0][0], value)


def test_wrapped_params_are_parameters_with_gradients() -> None:
    tensors = make_tensors([(4,)], F32, CPU)
    (param,) = wrap_params(tensors)
    assert isinstance(param, Parameter) and param.grad is tensors[0][1]
    torch_sgd(fused=True)([param]).step()
    assert torch.equal(param.detach(), tensors[0][0]), "the step is taken in the shared memory"
