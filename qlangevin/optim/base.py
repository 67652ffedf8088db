"""The one base class: torch.optim.Optimizer's contract around buckets, backends and resolved hyper-parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from .. import buckets, clipping, device_hypers, displacements, hyper, state
from ..backends import check_backend_name
from ..errors import HyperparameterError
from ..executions import Executions
from ..group_hypers import check_rounding, naming_group
from ..metrics import Metrics, Observed, Sampler, summarize, warn_of_rounding
from ..scalar_values import is_integer
from ..seeding import choose_seed

COMMON_DEFAULTS: dict[str, Any] = {
    "temperature": 0.0,
    "weight_decay": 0.0,
    "decoupled_weight_decay": False,
    "grad_quantizer": None,
    "update_quantizer": None,
    "noise": "gaussian",
    "noise_on": None,
    "param_rounding": "auto",
    "state_rounding": "auto",
    "state_dtype": None,
    "max_grad_norm": None,
    "chain": 0,
    "maximize": False,
    "capturable": False,
    "foreach": None,
    "fused": None,
    "numerics_version": state.NUMERICS_VERSION,
}


class LangevinOptimizer(Optimizer):
    """An optimizer whose step is one pass of a rule over all tensors.

    A subclass names the hyper-parameters of its rules and tells which rule a group uses. Public methods are those of
    torch.optim.Optimizer, and ``reseed``, ``collect_metrics`` and ``metrics``.
    """

    _constructed = False
    _warned = False  # of storage that heats
    rules: ClassVar[tuple[str, ...]] = ()  # the rules that its groups may use
    rule_fields: ClassVar[dict[str, Any]] = {}  # their hyper-parameters by name: Number, Flag, ... of hyper.py
    own_defaults: ClassVar[dict[str, Any]] = {}  # of those that its constructor does not take
    initial_states: ClassVar[dict[str, str]] = {}  # the hyper-parameter that a state begins with, where that is not 0
    takes_temperature: ClassVar[bool] = True  # whether its rules have a law to keep
    quantizer_is_thermostat: ClassVar[bool] = False  # whether its temperature is that of the update's quantizer

    def __init__(self, params: ParamsT, defaults: dict[str, Any], backend: str) -> None:
        """Checks every group and chooses the seed; captures nothing about the tensors, which may be swapped later."""
        check_backend_name(backend)
        self.backend = backend
        self._executions = Executions()
        self._sampler = Sampler(0)
        self._observed: Observed | None = None
        self.tabulated_steps: int | None = None
        defaults = {**COMMON_DEFAULTS, **self.own_defaults, **defaults}
        defaults["seed"] = choose_seed(defaults["seed"])
        if not isinstance(params, Tensor):
            params = list(params)  # type: ignore[assignment]  # a list of any of the forms that torch takes
            if not params:
                raise HyperparameterError("params is empty: there is nothing to optimize")
        super().__init__(params, defaults)
        buckets.check_noise_on(self.param_groups, buckets.name_params(self.param_groups))
        self._constructed = True

    def rule_of(self, group: Mapping[str, Any]) -> str:
        """The name of the rule that a group's hyper-parameters ask for."""
        raise NotImplementedError

    def resolve(self, group: Mapping[str, Any], step: int) -> dict[str, Any]:
        """A group's hyper-parameters as the plain numbers of `step`.

        Raises:
            HyperparameterError: a value out of range.
        """
        values = hyper.resolve(group, self.rule_fields, step)
        if values["temperature"] > 0.0 and not self.takes_temperature:
            told = (
                f"temperature = {values['temperature']!r}: {type(self).__name__} has no law that a temperature could keep; use 0"
            )
            raise HyperparameterError(told)
        hyper.calibrate(values, has_law=self.quantizer_is_thermostat)
        check_rounding(self.rule_of(group), values)
        return values

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch.optim.Optimizer; the group is checked first, and the optimizer is unchanged if it is refused.

        Raises:
            HyperparameterError: a value out of range, duplicate parameters or names.
            TensorError: sparse, complex or integer parameters.
        """
        count = len(self.param_groups)
        if count and isinstance(param_group, dict):  # a loaded state may have brought another seed than the defaults'
            param_group = {**{name: self.param_groups[0][name] for name in hyper.UNIFORM}, **param_group}
            self._check_no_group_has(param_group.get("params", ()))
        super().add_param_group(param_group)
        try:
            self._check_group(count)
            if self._constructed:  # while constructing, names are checked once for all groups
                buckets.check_noise_on(self.param_groups, buckets.name_params(self.param_groups))
        except Exception:
            del self.param_groups[count:]
            raise
        self._executions.clear()

    def _check_no_group_has(self, params: Any) -> None:
        taken = {id(param) for group in self.param_groups for param in group["params"]}
        for param in (params,) if isinstance(params, Tensor) else params if isinstance(params, list | tuple) else ():
            if id(param[1] if isinstance(param, tuple) else param) in taken:
                raise HyperparameterError("params contains a parameter that appears in more than one param group")

    def _check_group(self, index: int) -> None:
        group = self.param_groups[index]
        with naming_group(index):
            self.rule_of(group)
            self.resolve(group, 1)
            for param in group["params"]:
                buckets.state_dtype_for(param, group["state_dtype"])
            if len(set(map(id, group["params"]))) != len(group["params"]):
                raise HyperparameterError("params contains the same parameter twice")
        hyper.check_uniform((self.param_groups[0], group))
        for ordinal, param in enumerate(group["params"]):
            if param.device.type != "meta":  # a model may be materialized after its optimizer is made
                names = group.get("param_names")
                buckets.check_tensor("parameter", names[ordinal] if names else f"#{ordinal} of group {index}", param)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Takes one step.

        Args:
            closure: evaluates the model and returns the loss; called once, before the step.

        Returns:
            The closure's value, or None.

        Raises:
            QlangevinError: a hyper-parameter, tensor or backend that the step cannot take; nothing has been written.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf = getattr(self, "found_inf", None)  # of a GradScaler that leaves unscaling to the optimizer
        if found_inf is None or device_hypers.is_on_device(found_inf) or not bool(found_inf.item()):
            self._run(found_inf)
        return loss

    def _run(self, found_inf: Tensor | None) -> None:
        execution = self._executions.find(self)
        if execution is None:  # no gradient anywhere
            return
        side = execution.device_side(self)
        execution.check_capture(side)
        if side is None and found_inf is not None and bool(found_inf.item()):
            return
        inverse_scale = 1.0 if side is not None else clipping.invert_scale(getattr(self, "grad_scale", None))
        step_input = execution.make_input(inverse_scale, side)
        if execution.only_builds_state(step_input):
            return
        exponents: dict[int, int] = {}
        if side is None:
            clipping.apply(execution, step_input, inverse_scale)
            exponents = displacements.apply(execution, step_input)
        self._observed = execution.step(step_input, self._sampler.is_due(), self._observed) or self._observed
        self._executions.keep_if_captured(execution)
        for index, exponent in exponents.items():
            self.param_groups[index][hyper.EXPONENT] = exponent

    def tabulate_schedules(self, total_steps: int | None) -> None:
        """Tells for how many steps schedules are needed where the device counts them: with ``capturable=True`` on a GPU.

        Their values become tables on the device before the next step, so that graphs can be captured. Running past their end is
        an error at the next step, metrics() or state_dict() that notices it; the steps beyond have the last values.

        Args:
            total_steps: of the parameters' own counters, at least 1; None for no tables.

        Raises:
            HyperparameterError: total_steps is no integer of at least 1.
        """
        if total_steps is not None and (not is_integer(total_steps) or total_steps < 1):
            raise HyperparameterError(f"total_steps must be an integer of at least 1, got {total_steps!r}")
        self.tabulated_steps = total_steps
        self._executions.clear()

    def collect_metrics(self, every: int = 1) -> None:
        """Whether the following steps measure what ``metrics`` reports; off at first, and then free.

        Args:
            every: measures the next step and then every so many; 0 or False for none. A step that measures takes longer (see
                docs/architecture.md), so that a training run may want every tenth.

        Raises:
            HyperparameterError: `every` is not an integer of at least 0.
        """
        self._sampler, self._observed = Sampler(every), None

    def metrics(self) -> Metrics:
        """What the last measured step did, by tensor and by group, on their devices; a step that is skipped leaves it.

        Warns once if rounding parameters to storage brings more than a tenth of the noise's variance; looks until there is noise,
        which waits for the device.

        Raises:
            HyperparameterError: no step was measured since collect_metrics() or load_state_dict().
        """
        self._executions.check_overrun()
        if self._observed is None:
            raise HyperparameterError("metrics() needs collect_metrics() before the step")
        found = summarize(self._observed)
        self._warned = self._warned or warn_of_rounding(found, type(self).__name__)
        return found

    def reseed(self, seed: int) -> None:
        """Starts a new noise: every later draw depends on this seed; step counters go on.

        Args:
            seed: in [0, 2^64).

        Raises:
            HyperparameterError: a seed out of range.
        """
        hyper.FIELDS["seed"].read("seed", seed, 1)
        for group in (*self.param_groups, self.defaults):
            group["seed"] = seed
        self._executions.clear()

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in ("backend", "_sampler", "tabulated_steps")}
        return {**super().__getstate__(), **kept}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        super().__setstate__(saved)
        self._executions = Executions()
        self._constructed = True
        self.__dict__.setdefault("_sampler", Sampler(0))
        self.__dict__.setdefault("tabulated_steps", None)
        self._observed = None
        for group in self.param_groups:
            for name, value in {**COMMON_DEFAULTS, **self.own_defaults, **self.defaults}.items():
                group.setdefault(name, value)

    def state_dict(self) -> dict[str, Any]:
        """As torch.optim.Optimizer, without the callables among the hyper-parameters: load_state_dict keeps the present ones."""
        self._executions.check_overrun()
        return state.strip_callables(super().state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads a saved state; dtypes are kept, so that a resumed run equals an uninterrupted one bit for bit.

        Args:
            state_dict: from ``state_dict()`` of an optimizer with the same rules, groups and parameter shapes. States of the
                torch.optim optimizer with the same state names load as well.

        Raises:
            StateDictError: it does not fit; the optimizer is unchanged.
        """
        with state.hooks_around_load(self, state_dict) as hooked:
            checked = state.check(self, hooked)
            super().load_state_dict(checked)
            state.restore_dtypes(self, checked)
            self._executions.clear()
