"""Param groups -> lists of tensors that one launch can step: checked, keyed, with their states, cached between steps."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .errors import HyperparameterError, TensorError

PARAM_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
STATE_DTYPES = (torch.float32, torch.bfloat16)
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def canonical_name(name: str) -> str:
    """The fully qualified name without the parts that wrappers add, so that wrapping a model leaves its noise alone."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def tensor_key(seed: int, name: str) -> int:
    """The 64-bit Philox key of a tensor: BLAKE2b of the seed's 8 bytes and the canonical name."""
    data = seed.to_bytes(8, "little") + canonical_name(name).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def name_params(groups: Sequence[dict[str, Any]]) -> list[str]:
    """The name of each parameter over all groups: the user's, else ``#ordinal``.

    Raises:
        HyperparameterError: two parameters whose canonical names are equal, which would draw the same noise.
    """
    names: list[str] = []
    for group in groups:
        start = len(names)
        given = group.get("param_names")
        names.extend(given if given is not None else (f"#{start + i}" for i in range(len(group["params"]))))
    seen: dict[str, str] = {}
    for name in names:
        canonical = canonical_name(name)
        if canonical in seen:
            raise HyperparameterError(f"parameter names must be unique, got {seen[canonical]!r} and {name!r}")
        seen[canonical] = name
    return names


def check_noise_on(groups: Sequence[dict[str, Any]], names: Iterable[str]) -> None:
    """Refuses noise on what is no parameter of the groups.

    Raises:
        HyperparameterError: naming it.
    """
    known = set(map(canonical_name, names))
    for group in groups:
        for name in group["noise_on"] or ():
            if canonical_name(name) not in known:
                unnamed = all(one.startswith("#") for one in known)
                told = "give it model.named_parameters()" if unnamed else ", ".join(sorted(known)[:4]) + ", ..."
                raise HyperparameterError(f"noise_on has {name!r}, which names no parameter of the optimizer: {told}")


def names_with_noise(group: dict[str, Any]) -> frozenset[str] | None:
    """The canonical names of a group's parameters that take noise; None if all do."""
    return None if group["noise_on"] is None else frozenset(map(canonical_name, group["noise_on"]))


@dataclass
class Item:
    """One tensor of a bucket."""

    param: Tensor
    name: str
    key: int
    group: int
    order: int  # its place among all stepped tensors
    state: dict[str, Any] = field(default_factory=dict)  # becomes the optimizer's own dict of this parameter
    noise: bool = True
    offset: int = 0  # where its first element lies in the unsharded tensor


@dataclass
class Bucket:
    """Tensors that one launch steps: one device, one rule, one set of storage types."""

    rule: str
    device: torch.device
    dtypes: tuple[torch.dtype, torch.dtype, torch.dtype]  # param, grad, state
    state_names: tuple[str, ...]
    groups: int = 1  # of the optimizer
    counts_on_device: bool = False  # where the step counters are
    items: list[Item] = field(default_factory=list)
    levy: bool = False  # whether a group of any of them has Levy noise

    def params(self) -> list[Tensor]:
        """Its parameters in order."""
        return [item.param for item in self.items]


def describe(name: str, tensor: Tensor) -> str:
    """What an error says of a tensor."""
    return f"{name} (shape {tuple(tensor.shape)}, {tensor.dtype}, {tensor.device})"


def check_tensor(kind: str, name: str, tensor: Tensor) -> None:
    """Refuses what no backend can step.

    Raises:
        TensorError: sparse, complex, integer or meta tensors, tensor subclasses that hide their memory, other dtypes.
    """
    reason = why_not(tensor)
    if reason is not None:
        raise TensorError(f"{kind} {describe(name, tensor)}: {reason}")


def why_not(tensor: Tensor) -> str | None:
    """Why no backend can step a tensor; None if one may."""
    if tensor.layout != torch.strided:
        return f"it is {tensor.layout}; only dense tensors can be stepped"
    if tensor.dtype not in PARAM_DTYPES:
        return f"the dtype must be one of {', '.join(map(str, PARAM_DTYPES))}"
    if tensor.device.type == "meta":
        return "it has no memory; materialize the model before the first step"
    if torch.utils._python_dispatch.is_traceable_wrapper_subclass(tensor):
        return f"it is a {type(tensor).__name__}; tensor subclasses and DTensors are not supported yet"
    return why_no_memory(tensor) if tensor.numel() else None


def why_no_memory(tensor: Tensor) -> str | None:
    """Why the elements of a tensor that has any cannot be read; None if they can."""
    if not has_memory(tensor):
        return "it has no memory; its storage was freed, or it stands for zeros that were never stored"
    if tensor.untyped_storage().nbytes() < end_of(tensor) * tensor.element_size():
        return "its storage is too small for it; it was resized"
    return None


def has_memory(tensor: Tensor) -> bool:
    """Whether elements have an address; of a view of a storage that was freed, ``data_ptr`` is no more than its offset."""
    return tensor.data_ptr() != 0 and tensor.untyped_storage().data_ptr() != 0


def end_of(tensor: Tensor) -> int:
    """One past the last element of a tensor that has any, counted from the beginning of its storage."""
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int(tensor.storage_offset()) + steps + 1


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill one block of memory, each once, in some order of the dimensions."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size != 1):
        if stride != expected:
            return False
        expected = stride * size
    return True


def check_param(name: str, param: Tensor) -> None:
    """Refuses a parameter that cannot be stepped in place.

    Raises:
        TensorError: as check_tensor; overlapping memory; elements that do not fill one block.
    """
    check_tensor("parameter", name, param)
    if param.is_neg():
        raise TensorError(f"parameter {describe(name, param)} is a negated view; use param.resolve_neg()")
    if param.numel() and not is_dense(param):
        overlap = torch._debug_has_internal_overlap(param) == 1
        reason = "several elements share memory (an expanded tensor)" if overlap else "its elements leave gaps in memory"
        raise TensorError(f"parameter {describe(name, param)} with strides {param.stride()}: {reason}; use param.contiguous()")


def same_layout(param: Tensor, tensor: Tensor) -> bool:
    """Whether both lie in memory in the same order; strides of dimensions of size 1 do not matter."""
    if param.is_contiguous():
        return tensor.is_contiguous()
    return all(a == b for a, b, size in zip(param.stride(), tensor.stride(), param.shape, strict=True) if size != 1)


def match_layout(param: Tensor, grad: Tensor) -> Tensor:
    """grad, or a copy of it in the parameter's memory order where the order differs."""
    if same_layout(param, grad) and grad.numel() == param.numel():
        return grad
    return torch.empty_like(param, dtype=grad.dtype).copy_(grad)


def check_grad(name: str, param: Tensor, grad: Tensor) -> None:
    """Refuses a gradient that does not belong to its parameter.

    Raises:
        TensorError: as check_tensor; another shape or device.
    """
    check_tensor("gradient of", name, grad)
    if grad.shape != param.shape or grad.device != param.device:
        raise TensorError(f"gradient of {describe(name, param)} has shape {tuple(grad.shape)} on {grad.device}")


def is_copied(param: Tensor, grad: Tensor) -> bool:
    """Whether the step reads a copy of the gradient: it lies in another order, or is a view whose memory holds the negative."""
    return not same_layout(param, grad) or grad.is_neg()


Memory = tuple[str, int, int]  # the device, the first byte, one past the last


def memory_of(tensor: Tensor) -> Memory | None:
    """The block of memory of a dense tensor; None for an empty one."""
    start, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
    return (str(tensor.device), start, start + size) if size else None


def share(one: Memory, other: Memory) -> bool:
    """Whether two blocks overlap."""
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


def overlaps(memory: Memory | None, disjoint: Sequence[Memory]) -> bool:
    """Whether a block overlaps any of the others, which are sorted and do not overlap each other."""
    if memory is None:
        return False
    after = bisect.bisect(disjoint, memory)
    return any(share(memory, other) for other in disjoint[max(after - 1, 0) : after + 1])


def check_no_shared_memory(written: Iterable[tuple[str, Tensor]], read: Iterable[tuple[str, Tensor]]) -> None:
    """Refuses tensors that overlap in memory where a step would write the shared elements twice, or write what it reads.

    Args:
        written: what an error calls it, and a parameter or state.
        read: what an error calls it, and a gradient; these may overlap each other.

    Raises:
        TensorError: naming both.
    """
    spans = sorted((memory, name) for name, tensor in written if (memory := memory_of(tensor)) is not None)
    for (memory, name), (other_memory, other) in itertools.pairwise(spans):
        if share(memory, other_memory):
            raise TensorError(f"{name} and {other} share memory")
    disjoint = [memory for memory, _ in spans]
    for name, tensor in read:
        found = memory_of(tensor)
        if found is not None and overlaps(found, disjoint):
            other = next(other for memory, other in spans if share(found, memory))
            raise TensorError(f"{name} and {other} share memory; the step would overwrite what it reads")


def state_dtype_for(param: Tensor, wanted: Any) -> torch.dtype:
    """The storage type of a parameter's states: as wanted, else bf16 for bf16 parameters and binary32 for the others.

    Binary64 parameters have binary64 states.

    Raises:
        HyperparameterError: a state_dtype that is not float32, bfloat16 or None.
    """
    if wanted is not None and wanted not in STATE_DTYPES:
        raise HyperparameterError(f"state_dtype must be torch.float32, torch.bfloat16 or None, got {wanted!r}")
    if param.dtype == torch.float64:
        return torch.float64
    if wanted is None:
        return torch.bfloat16 if param.dtype == torch.bfloat16 else torch.float32
    return wanted  # type: ignore[no-any-return]  # checked against STATE_DTYPES above
