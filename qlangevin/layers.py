"""Which layers take noise: Layer Langevin (Bras, arXiv 2212.14718) adds it to the deepest ones alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor
from torch.nn import Module

from .buckets import canonical_name
from .errors import HyperparameterError
from .scalar_values import as_number

ORDERS, COUNTS = ("input", "output"), ("parametric", "all")


def select_layers(
    model: Module,
    fraction: float | None = None,
    *,
    order: str = "input",
    count: str = "parametric",
    patterns: Sequence[str] = (),
    types: Sequence[type[Module]] = (),
) -> tuple[str, ...]:
    """The names of the parameters of some layers, for the `noise_on` of an optimizer that is given ``model.named_parameters()``.

    A layer is a module that has parameters of its own; with count="all" also one without any modules inside, such as an
    activation. Layers are ordered as they were registered, which is the order of the forward pass in most networks.

    Args:
        model: the network.
        fraction: takes the first ``floor(fraction * n)`` of n layers, in [0, 1]; Bras has 0.3. None: all that the others leave.
        order: "input" counts from the input ("deepest" in the paper: farthest from the loss), "output" from the output.
        count: "parametric" or "all", as the authors' code counts: it changes which layers a fraction reaches.
        patterns: shell patterns of module names, such as "features.*"; a layer is taken if one matches. Empty: any name.
        types: classes of layers, such as torch.nn.Conv2d. Empty: any class.

    Returns:
        Names in the order of the model; of a parameter that several layers share, the name that the model gives it.

    Raises:
        HyperparameterError: a fraction outside [0, 1], an unknown order or count, a pattern or class that matches no layer,
            nothing asked for.

    Source: Bras, arXiv 2212.14718, and the code of its author, which counts every layer.
    """
    check_choice("order", order, ORDERS)
    check_choice("count", count, COUNTS)
    if fraction is None and not patterns and not types:
        raise HyperparameterError("select_layers needs a fraction, patterns or types")
    layers = list_layers(model, count)
    chosen = [(name, layer) for name, layer in layers if matches(name, layer, patterns, types)]
    for pattern in patterns:
        check_found(f"pattern {pattern!r}", any(matches(*one, (pattern,), ()) for one in layers))
    for kind in types:
        check_found(f"type {kind.__name__}", any(matches(*one, (), (kind,)) for one in layers))
    if fraction is not None:
        share = as_number(fraction)
        if share is None or not 0.0 <= share <= 1.0:
            raise HyperparameterError(f"fraction must be a number in [0, 1], got {fraction!r}")
        wanted = int(share * len(chosen) + 1e-9)  # 0.29 * 100 is below 29 in binary64
        chosen = chosen[:wanted] if order == "input" else chosen[len(chosen) - wanted :]
    taken = {id(param) for _, layer in chosen for param in layer.parameters(recurse=False)}
    return tuple(canonical_name(name) for name, param in model.named_parameters() if id(param) in taken)


def layer_langevin(
    model: Module, fraction: float = 0.3, *, groups: Iterable[dict[str, Any]] | None = None, **selection: Any
) -> list[dict[str, Any]]:
    """Param groups for any optimizer of this package, in which the layers of `select_layers` alone take noise.

    Args:
        model: the network.
        fraction: as for select_layers.
        groups: groups of the model's parameters, say of different decay; they are kept. None: one of all parameters.
        **selection: order, count, patterns, types, as for select_layers.

    Raises:
        HyperparameterError: as for select_layers; a group with a tensor that is no parameter of the model.
    """
    chosen = select_layers(model, fraction, **selection)
    names = {id(param): name for name, param in model.named_parameters()}
    given = [{"params": list(model.parameters())}] if groups is None else list(groups)
    return [{**group, "params": name_group(group["params"], names), "noise_on": chosen} for group in given]


def name_group(params: Any, names: dict[int, str]) -> list[tuple[str, Tensor]]:
    """A group's parameters with the model's names for them."""
    tensors = [one[1] if isinstance(one, tuple) else one for one in ((params,) if isinstance(params, Tensor) else params)]
    foreign = [tuple(tensor.shape) for tensor in tensors if id(tensor) not in names]
    if foreign:
        raise HyperparameterError(f"groups have a tensor of shape {foreign[0]} that is no parameter of the model")
    return [(names[id(tensor)], tensor) for tensor in tensors]


def list_layers(model: Module, count: str) -> list[tuple[str, Module]]:
    """Every layer with its name, in the order of registration."""

    def is_layer(module: Module) -> bool:
        own = any(True for _ in module.parameters(recurse=False))
        return own or (count == "all" and not any(True for _ in module.children()))

    return [(canonical_name(name), module) for name, module in model.named_modules() if is_layer(module)]


def matches(name: str, layer: Module, patterns: Sequence[str], types: Sequence[type[Module]]) -> bool:
    """Whether a layer's name and class are among those asked for."""
    named = not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    return named and (not types or isinstance(layer, tuple(types)))


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuses an unknown word."""
    if value not in known:
        raise HyperparameterError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def check_found(what: str, found: bool) -> None:
    """Refuses what matches nothing."""
    if not found:
        raise HyperparameterError(f"{what} matches no layer of the model")
