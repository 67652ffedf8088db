"""Hyper-parameters of a param group: checked, and resolved to the numbers of one step. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import HyperparameterError
from .fields import Choice, Flag, Number, OptionalGradGrid, OptionalGrid, OptionalNames, Word
from .levy import NoiseName, settle
from .quantizers import (
    LARGEST_EXPONENT,
    NOISE,
    SMALLEST,
    AdaptiveResolution,
    CalibratedResolution,
    Grid,
    check_integer,
)
from .scalar_values import as_number, is_schedule
from .thermostat import calibrated_resolution, check_law, quantizer_temperature

NOISES = ("gaussian", "uniform", "rademacher")
AVERAGED = "averaged_"  # a noise's name for half the sum of a step's and the next step's
INTEGRATORS = ("euler", "leimkuhler_matthews")
EXPONENT = "resolution_exponent"  # where a group keeps how far its AdaptiveResolution is
STORAGE_ROUNDINGS = ("auto", "stochastic", "nearest")
CORRECTED = "variance_corrected"


# What every optimizer has; the fields of its rules stand in its class.
FIELDS: dict[str, Any] = {
    "lr": Number(),
    "temperature": Number(scheduled=True),
    "weight_decay": Number(),
    "decoupled_weight_decay": Flag(),
    "maximize": Flag(),
    "noise": NoiseName(NOISES),
    "noise_on": OptionalNames(),
    "param_rounding": Choice((*STORAGE_ROUNDINGS, CORRECTED)),
    "state_rounding": Choice(STORAGE_ROUNDINGS),
    "grad_quantizer": OptionalGradGrid(),
    "update_quantizer": OptionalGrid(of_update=True),
    "max_grad_norm": Number(open_low=True, optional=True),
    "seed": Word(64),
    "chain": Word(32),
    "capturable": Flag(),
}

UNIFORM = ("seed", "chain", "capturable")  # equal in all groups
GROUP_NAMES = {"beta1": "betas", "beta2": "betas"}  # where a group has a rule's hyper-parameter under another name


def resolve(group: Mapping[str, Any], rule_fields: Mapping[str, Any], step: int) -> dict[str, Any]:
    """The group's hyper-parameters as the plain numbers of `step`, in the form that ``make_row`` takes.

    Args:
        group: a param group.
        rule_fields: the fields that belong to the optimizer's rules, by name.
        step: 1 for the first step taken.

    Raises:
        HyperparameterError: naming the field, the value and the range.
    """
    fields = {**FIELDS, **rule_fields}
    values = {name: field.read(name, group[name], step) for name, field in fields.items()}
    if values.get("nesterov") and (values["momentum"] <= 0 or values["dampening"] != 0):
        raise HyperparameterError(
            f"nesterov = True needs momentum > 0 and dampening = 0, got momentum = {values['momentum']!r}, "
            f"dampening = {values['dampening']!r}"
        )
    if values.get("noise_estimate", 0.0) > values.get("friction", 0.0):
        raise HyperparameterError(
            f"noise_estimate must be at most friction = {values['friction']!r}, got {values['noise_estimate']!r}"
        )
    check_law(values, values["temperature"])
    settle(values, group.get("momentum"), values["param_rounding"] == CORRECTED)
    if values.pop("integrator", "euler") == "leimkuhler_matthews":
        if as_number(group["momentum"]) != 0:
            raise HyperparameterError(f"integrator = 'leimkuhler_matthews' needs momentum = 0, got {group['momentum']!r}")
        values["noise"] = AVERAGED + values["noise"]
    if "betas" in values:
        values["beta1"], values["beta2"] = values.pop("betas")
    values["grad_rounding"], values["grad_resolution"], values["grad_blocks"] = values.pop("grad_quantizer")
    values["update_rounding"], values["update_resolution"] = values.pop("update_quantizer")
    values["compensation_norm"], share = values.pop("compensation", ("tensor", 0.0))
    values["compensation"], values["compensation_length"] = share, share * values["lr"]
    values["adaptive"] = resolution = values["update_resolution"]
    if (reached := group.get(EXPONENT)) is not None:
        check_integer(EXPONENT, reached, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    if isinstance(resolution, AdaptiveResolution):
        values["update_resolution"] = 2.0 ** resolution.exponent_at(step, reached)
    else:
        values["adaptive"] = None
    decay, decoupled = values["weight_decay"], values["decoupled_weight_decay"]
    values["weight_decay"], values["decoupled_weight_decay"] = (0.0, decay) if decoupled else (decay, 0.0)
    values["corrected_param"] = values["param_rounding"] == CORRECTED
    values["stochastic_param"] = values.pop("param_rounding") != "nearest"
    values["stochastic_state"] = values.pop("state_rounding") != "nearest"
    return values


def calibrate(values: dict[str, Any], has_law: bool) -> None:
    """Settles resolved hyper-parameters whose quantizer is the thermostat: its resolution, or noise in its place.

    Args:
        values: from ``resolve``, changed in place.
        has_law: whether rounding errors of the optimizer's rules keep a known temperature (thermostat.quantizer_temperature), and
            whether that is the only temperature it takes.

    Raises:
        HyperparameterError: a thermostat without that law, or a temperature that nothing keeps.
    """
    temperature, lr, momentum = values["temperature"], values["lr"], values.get("momentum", 0.0)
    calibrated = isinstance(values["update_resolution"], CalibratedResolution)
    noise = values["update_rounding"] == NOISE
    if not has_law:
        if calibrated or noise:
            grid = Grid(values["update_resolution"], values["update_rounding"])
            told = "may have a CalibratedResolution or the rounding 'noise' in QuantizedSGD only"
            raise HyperparameterError(f"update_quantizer {told}; got {grid!r}")
        return
    if temperature > 0.0 and not calibrated:
        raise HyperparameterError(
            f"temperature = {temperature!r} needs a CalibratedResolution: other grids have the temperature of their resolution"
        )
    if calibrated:
        values["update_resolution"] = calibrated_resolution(temperature, lr, momentum)
        values["temperature"] = 0.0
        if values["update_resolution"] < SMALLEST:
            raise HyperparameterError(f"temperature = {temperature!r} with lr = {lr!r} needs a resolution below 2^-126")
    if noise:
        values["update_rounding"] = "off"
        if lr > 0.0:
            values["temperature"] = quantizer_temperature(values["update_resolution"], lr, momentum)
            check_law(values, values["temperature"])


def check_uniform(groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuses groups that differ in what all of them must share.

    Raises:
        HyperparameterError: naming the field.
    """
    for name in UNIFORM:
        for group in groups:
            if group[name] != groups[0][name]:
                raise HyperparameterError(
                    f"{name} must be equal in all param groups, got {groups[0][name]!r} and {group[name]!r}"
                )


def needs_step(value: Any) -> bool:
    """Whether a group's value is, or holds, a schedule: its number depends on the step."""
    if isinstance(value, Grid):
        return needs_step(value.resolution)
    if isinstance(value, AdaptiveResolution):
        return True
    return is_schedule(value)


def is_dynamic(value: Any) -> bool:
    """Whether a group's value can change from step to step without being assigned anew: a tensor, a schedule, a list."""
    if isinstance(value, Grid):
        return is_dynamic(value.resolution)
    if isinstance(value, tuple | list):  # a list of numbers may be written to, one of names is compared (group_hypers.shape_of)
        numbers = [one for one in value if not isinstance(one, str)]
        return (isinstance(value, list) and len(numbers) > 0) or any(map(is_dynamic, numbers))
    return hasattr(value, "ndim") or needs_step(value)
