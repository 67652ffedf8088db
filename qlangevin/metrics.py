"""Metrics of a step, from the statistics that backends gather in the step's own pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import HyperparameterError
from .levy import has_variance
from .reference import STATISTICS
from .thermostat import kinetic_temperature, quantizer_temperature


@dataclass(frozen=True)
class Metrics:
    """What one step did; every value is a 0-dim binary64 tensor on the tensors' device, unless it is known without measuring.

    Args:
        tensors: by parameter name.
        groups: by param group, over its tensors taken together; empty for a group that was not stepped.

    Of both:
        grad_norm: of the unscaled, clipped gradient.
        update_norm: of the displacement, without the noise that is added to it.
        noise_norm: of the noise as it moves the parameter in this step.
        unmoved: share of elements whose stored parameter did not change.
        zeroed: share of elements whose displacement is 0.
        rounding_over_noise: variance of the parameter's rounding to storage over that of the noise; Inf without noise, and NaN
            without both, or where the noise has no variance: Levy noise of tail index below 2.
        spread_times_resolution: with an update quantizer of finite resolution, the standard deviation of what it quantizes in
            units of its spacing; rounding errors are noise-like from about 1/2 on.
        quantizer_bias: with one too, the mean of its errors in units of its spacing.
    Of groups besides:
        quantizer_temperature: with an update quantizer, the temperature of its rounding errors, (1 - momentum) / (24 lr Q^2).
        temperature: of CoolMomentum, E d^2 / lr.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    groups: Sequence[Mapping[str, Tensor | float]]


class Sampler:
    """Which steps are measured: the next one and then every so many; none for 0."""

    def __init__(self, every: int) -> None:
        """Refuses what is no number of steps.

        Raises:
            HyperparameterError: `every` is not an integer of at least 0.
        """
        if not isinstance(every, int) or every < 0:
            raise HyperparameterError(f"every must be an integer of at least 0, got {every!r}")
        self.every = self.unmeasured = int(every)

    def is_due(self) -> bool:
        """Whether the coming step is measured."""
        self.unmeasured += 1
        if not 0 < self.every <= self.unmeasured:
            return False
        self.unmeasured = 0
        return True


@dataclass(frozen=True)
class ObservedTensor:
    """What is known of a tensor besides its statistics."""

    name: str
    group: int
    size: int
    rule: str


@dataclass(frozen=True)
class Observed:
    """The statistics of one step: for each bucket a (tensors, statistics) tensor; its tensors stand in `tensors` in order.

    steps: the step that each tensor took, on the device, where tables of schedules say what it had; None: hypers say it.
    """

    tensors: Sequence[ObservedTensor]
    statistics: Sequence[Tensor | None]
    hypers: Sequence[Mapping[str, Any]]
    steps: Tensor | None = None


def unless_skipped(new: Observed, old: Observed | None, found_inf: Tensor | None) -> Observed:
    """What was observed of a step that the device may have skipped: of the step before it, if it did; without waiting for it."""
    if found_inf is None or old is None or old.tensors != new.tensors:
        return new
    pairs = list(zip((*new.statistics, new.steps), (*old.statistics, old.steps), strict=True))
    chosen = [None if a is None or b is None else torch.where(found_inf.to(a.device) != 0, b, a) for a, b in pairs]
    return Observed(new.tensors, chosen[:-1], new.hypers, chosen[-1])


def values_at(values: Mapping[str, Any], step: int | None) -> Mapping[str, Any]:
    """A group's hyper-parameters at a step; waits for the device where it has them."""
    schedule, lr = values.get("schedule"), values.get("device_lr")
    if schedule and step is not None:
        values = {**values, **schedule[min(step, len(schedule)) - 1]}
    return values if lr is None else {**values, "lr": float(lr)}


def summarize(observed: Observed) -> Metrics:
    """The metrics of a step."""
    rows = (row for bucket in observed.statistics if bucket is not None for row in bucket.unbind(0))
    tensors: dict[str, dict[str, Tensor]] = {}
    totals: dict[int, tuple[Tensor, int, str]] = {}
    steps: list[int | None] = [None] * len(observed.tensors) if observed.steps is None else observed.steps.tolist()
    latest: dict[int, int | None] = {}  # by group
    for tensor, row, step in zip(observed.tensors, rows, steps, strict=True):
        if tensor.size == 0:
            continue
        tensors[tensor.name] = measure(row, tensor.size, values_at(observed.hypers[tensor.group], step))
        latest[tensor.group] = step if step is None else max(step, latest.get(tensor.group) or 0)
        total, size, _ = totals.get(tensor.group, (row.new_zeros(row.shape), 0, ""))
        totals[tensor.group] = total + row.to(total.device), size + tensor.size, tensor.rule
    groups: list[dict[str, Tensor | float]] = []
    for index, values in enumerate(observed.hypers):
        if index not in totals:
            groups.append({})
            continue
        total, size, rule = totals[index]
        known = values_at(values, latest[index])
        groups.append({**measure(total, size, known), **measure_group(total, size, rule, known)})
    return Metrics(tensors, groups)


MOST_ROUNDING = 0.1  # of the noise's variance, without a word


def warn_of_rounding(metrics: Metrics, told: str) -> bool:
    """Warns if rounding to storage heats the chain; whether there was noise to compare with."""
    ratios = [float(group["rounding_over_noise"]) for group in metrics.groups if group]
    known = [ratio for ratio in ratios if math.isfinite(ratio)]
    if max(known, default=0.0) > MOST_ROUNDING:
        text = (
            f"{told}: rounding parameters to storage brings {max(known):.2g} of the noise's variance, and heats the chain by it; "
            f"param_rounding='variance_corrected' takes it out of the noise, parameters in float32 do without it"
        )
        warnings.warn(text, stacklevel=3)
    return bool(known)


def measure(statistics: Tensor, size: int, values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Metrics from the statistics of `size` elements."""
    of = dict(zip(STATISTICS, statistics.unbind(0), strict=True))
    rounding = of["rounding_squares"] / of["noise_squares"]
    found = {
        "grad_norm": of["grad_squares"].sqrt(),
        "update_norm": of["update_squares"].sqrt(),
        "noise_norm": of["noise_squares"].sqrt(),
        "unmoved": of["unmoved"] / size,
        "zeroed": of["zeroed"] / size,
        "rounding_over_noise": rounding if has_variance(values) else torch.full_like(rounding, math.nan),
    }
    if values["update_rounding"] != "off" and values["update_resolution"] < math.inf:
        mean = of["displacement_sum"] / size
        variance = (of["displacement_squares"] / size - mean * mean).clamp(min=0.0)
        found["spread_times_resolution"] = variance.sqrt() * values["update_resolution"]
        found["quantizer_bias"] = of["quantizer_error"] / size * values["update_resolution"]
    return found


def measure_group(statistics: Tensor, size: int, rule: str, values: Mapping[str, Any]) -> dict[str, Tensor | float]:
    """What only a whole group has."""
    found: dict[str, Tensor | float] = {}
    lr = values["lr"]
    if values["update_rounding"] != "off" and rule != "cool_momentum" and lr > 0.0:
        found["quantizer_temperature"] = quantizer_temperature(values["update_resolution"], lr, values.get("momentum", 0.0))
    if rule == "cool_momentum" and lr > 0.0:
        mean_square = statistics[STATISTICS.index("update_squares")] / size
        found["temperature"] = kinetic_temperature(mean_square, lr)
    return found
