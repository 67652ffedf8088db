"""The named errors: each is raised before any parameter, state or counter is written."""

from __future__ import annotations


class QlangevinError(Exception):
    """The base of every error that this package raises on purpose."""


class HyperparameterError(QlangevinError, ValueError):
    """A hyper-parameter of the wrong type, out of range, NaN, or in a combination that has no meaning."""


class TensorError(QlangevinError, ValueError):
    """A parameter, gradient or state tensor that the step cannot take: layout, dtype, device or overlapping memory."""


class BackendError(QlangevinError, RuntimeError):
    """A backend that does not exist, or is not usable here for these tensors; the message says why."""


class StateDictError(QlangevinError, ValueError):
    """A state_dict that does not fit the optimizer; the optimizer is unchanged."""
