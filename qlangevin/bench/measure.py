"""Times cases in alternation within one run: each round times every case once, from equally cold caches."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import Parameter

from .admission import LeftOut, describe_error
from .cases import Case, Stepper
from .machine import OtherWork
from .memory import fit, measure_growth
from .shapes import Shape, TensorList

Step = Callable[[], object]
PROBE_ELEMENTS = 1 << 16  # enough for every optimizer to store its states as it does for large tensors


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Args:
        device: cpu or cuda.
        rounds: of each list; None: `most_rounds`, and fewer, at least `least_rounds`, where they take longer than `seconds`.
        copy_elements: float32 values of the copy that stands before every timed step; more than the caches hold.
        most_rounds, least_rounds, seconds: see rounds.
    """

    device: torch.device
    rounds: int | None = None
    copy_elements: int = 64 << 20
    most_rounds: int = 15
    least_rounds: int = 5
    seconds: float = 20.0

    @property
    def copy_bytes(self) -> int:
        """Bytes of source and destination of the copy: what it reads and writes."""
        return 2 * 4 * self.copy_elements


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        if len(values) == 1:
            return Spread(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, low, high)


@dataclass(frozen=True)
class Figures:
    """What was measured of one case.

    Args:
        case: the case.
        ms: a step.
        gb_per_s: the bytes that a step must move, over its median time.
        copy_share: gb_per_s over that of the copies of the same run.
        host_us_per_tensor: the step over as many tensors of one element, over their number.
        bytes_per_param: of parameter, gradient and states.
        temporaries_mb: growth of the peak memory in a step; None: not measured.
    """

    case: Case
    ms: Spread
    gb_per_s: float
    copy_share: float
    host_us_per_tensor: float
    bytes_per_param: float
    temporaries_mb: float | None


@dataclass
class ListResult:
    """What was measured of one list of tensors.

    Args:
        tensors: the list.
        rounds: how often each case was timed.
        copy_gb_per_s: of the copies between the steps, read and written.
        other_cores: used by other processes meanwhile; None: not known.
        figures, left_out, failed: of the cases.
    """

    tensors: TensorList
    rounds: int = 0
    copy_gb_per_s: float = 0.0
    other_cores: float | None = None
    figures: list[Figures] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True)
class Clock:
    """Times one call on a device, in seconds."""

    device: torch.device

    def time(self, step: Step) -> float:
        """The time until the device has done the step."""
        if self.device.type != "cuda":
            return self.time_host(step)
        # torch leaves the constructor of its events untyped.
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(self.device)
        begin.record()
        step()
        end.record()
        torch.cuda.synchronize(self.device)
        return float(begin.elapsed_time(end)) / 1e3

    def time_host(self, step: Step) -> float:
        """The time until the call returns; what it has queued before and after is waited for outside."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        step()
        return time.perf_counter() - start


def make_tensors(shapes: Iterable[Shape], dtype: torch.dtype, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Values and gradients of parameters; random, so that nothing is a special case."""
    generator = torch.Generator(device).manual_seed(0)
    return [
        (
            torch.randn(shape, dtype=dtype, device=device, generator=generator),
            torch.randn(shape, dtype=dtype, device=device, generator=generator),
        )
        for shape in shapes
    ]


def wrap_params(tensors: Iterable[tuple[Tensor, Tensor]]) -> list[Parameter]:
    """New parameters over the same memory: cases share values and gradients, and have their own states."""
    params = []
    for value, grad in tensors:
        param = Parameter(value)
        param.grad = grad
        params.append(param)
    return params


def count_state_bytes(stepper: Stepper) -> int:
    """Bytes of all states; a tensor that parameters share counts once, a step counter (0-dim) not."""
    states = [value for named in stepper.state.values() for value in named.values()]
    tensors = {value.data_ptr(): value for value in states if isinstance(value, Tensor) and value.dim() > 0}
    return sum(value.numel() * value.element_size() for value in tensors.values())


def probe(cases: Iterable[Case], device: torch.device) -> tuple[dict[str, float], list[LeftOut]]:
    """Bytes of states for one element, from a step over a small tensor; and the cases that cannot take it."""
    found, failed = {}, []
    for case in cases:
        try:
            stepper = case.make(wrap_params(make_tensors([(PROBE_ELEMENTS,)], case.dtype, device)))
            stepper.step()
        except Exception as error:  # of any optimizer: the others are still timed
            failed.append(LeftOut(case.name, f"its step fails: {describe_error(error)}"))
            continue
        found[case.name] = count_state_bytes(stepper) / PROBE_ELEMENTS
    return found, failed


def count_rounds(settings: Settings) -> Iterator[int]:
    """Yields once for each round that is to be made."""
    start = time.perf_counter()
    for done in range(settings.rounds or settings.most_rounds):
        late = time.perf_counter() - start > settings.seconds
        if settings.rounds is None and done >= settings.least_rounds and late:
            return
        yield done


def alternate(
    steps: Mapping[str, Step], timer: Callable[[Step], float], rounds: Iterable[int], before: Step | None = None
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of each step, one of each in every round; and of `before`, which is timed before each of them."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    before_times = []
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()  # a collection falls on one case by chance
    try:
        for _ in rounds:
            for name, step in steps.items():
                if before is not None:
                    before_times.append(timer(before))
                times[name].append(timer(step))
    finally:
        if collecting:
            gc.enable()
    return times, before_times


def build(cases: Sequence[Case], shapes: Sequence[Shape], device: torch.device) -> dict[str, Stepper]:
    """The optimizers over parameters of these shapes, each stepped once, so that states and plans are there."""
    tensors = {dtype: make_tensors(shapes, dtype, device) for dtype in dict.fromkeys(case.dtype for case in cases)}
    steppers = {case.name: case.make(wrap_params(tensors[case.dtype])) for case in cases}
    for stepper in steppers.values():
        stepper.step()
    return steppers


def time_host(cases: Sequence[Case], count: int, settings: Settings) -> dict[str, float]:
    """Microseconds of host work for each of `count` tensors: median steps over tensors of a single element."""
    steps = {name: stepper.step for name, stepper in build(cases, [(1,)] * count, settings.device).items()}
    times, _ = alternate(steps, Clock(settings.device).time_host, count_rounds(settings))
    return {name: 1e6 * statistics.median(values) / count for name, values in times.items()}


def measure_list(tensors: TensorList, cases: Sequence[Case], settings: Settings) -> ListResult:
    """Measures every case on one list of tensors; what does not fit into memory or fails is left out and said."""
    shapes, device, result = tensors.shapes, settings.device, ListResult(tensors)
    state_bytes, result.failed = probe(cases, device)
    startable = [case for case in cases if case.name in state_bytes]
    fitting, result.left_out = fit(startable, state_bytes, shapes, device, settings.copy_bytes)
    if not fitting:
        return result
    host = time_host(fitting, len(shapes), settings)
    steppers = build(fitting, shapes, device)
    growth = {name: measure_growth(stepper.step, device) for name, stepper in steppers.items()}
    source, target = (torch.ones(settings.copy_elements, device=device) for _ in range(2))
    steps = {name: stepper.step for name, stepper in steppers.items()}
    # A copy before every timed step leaves the caches equally cold for all, and is the bandwidth of that moment.
    others = OtherWork()
    times, copies = alternate(steps, Clock(device).time, count_rounds(settings), lambda: target.copy_(source))
    result.other_cores = others.cores()
    result.rounds = len(copies) // len(steps)
    result.copy_gb_per_s = settings.copy_bytes / statistics.median(copies) / 1e9
    for case in fitting:
        states = count_state_bytes(steppers[case.name])
        seconds = Spread.of(times[case.name])
        speed = moved_bytes(tensors.elements, case.dtype.itemsize, states) / seconds.median / 1e9
        result.figures.append(
            Figures(
                case=case,
                ms=Spread(1e3 * seconds.median, 1e3 * seconds.low, 1e3 * seconds.high),
                gb_per_s=speed,
                copy_share=speed / result.copy_gb_per_s,
                host_us_per_tensor=host[case.name],
                bytes_per_param=2 * case.dtype.itemsize + states / tensors.elements,
                temporaries_mb=growth[case.name],
            )
        )
    return result


def moved_bytes(elements: int, itemsize: int, states: int) -> int:
    """Bytes that a step must move: parameter, gradient and states read, parameter and states written."""
    return 3 * elements * itemsize + 2 * states
