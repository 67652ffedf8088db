"""Tensors that no step can take: name -> how to make one, and words of the error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter


def fixed(tensor: Tensor) -> Parameter:
    """A parameter that needs no gradient, as integer ones cannot."""
    return Parameter(tensor, requires_grad=False)


def sparse() -> Tensor:
    """Of shape (4, 3)."""
    return torch.sparse_coo_tensor(torch.tensor([[0, 2], [1, 2]]), torch.tensor([1.0, 2.0]), (4, 3))


# Refused when the optimizer is made; all of shape (4, 3).
NEVER_PARAMS: dict[str, tuple[Callable[[], Parameter], str]] = {
    "sparse": (lambda: Parameter(sparse()), "sparse"),
    "sparse_csr": (lambda: Parameter(sparse().to_sparse_csr()), "sparse"),
    "complex": (lambda: Parameter(torch.ones(4, 3, dtype=torch.complex64)), "complex64"),
    "integer": (lambda: fixed(torch.ones(4, 3, dtype=torch.int64)), "int64"),
    "boolean": (lambda: fixed(torch.ones(4, 3, dtype=torch.bool)), "bool"),
    "float8": (lambda: Parameter(torch.ones(4, 3).to(torch.float8_e4m3fn)), "float8"),
}


def set_any_grad(param: Parameter, grad: Tensor) -> None:
    """Sets a gradient that torch would refuse for its dtype."""
    param.grad = None
    param.grad_dtype = None
    param.grad = grad


def cut_grad(param: Parameter, shape: tuple[int, ...]) -> None:
    """A gradient of another shape, which the setter cannot see; inside larger memory, so that no read leaves it."""
    param.grad = torch.ones_like(param)
    size = torch.Size(shape).numel()
    param.grad.data = torch.ones(1024)[:size].view(shape)


# For a float32 parameter of shape (4, 3): what sets its wrong gradient, and words of the error.
WRONG_GRADS: dict[str, tuple[Callable[[Parameter], None], str]] = {
    "sparse": (lambda param: set_any_grad(param, sparse()), "sparse"),
    "complex": (lambda param: set_any_grad(param, torch.ones(4, 3, dtype=torch.complex64)), "complex64"),
    "integer": (lambda param: set_any_grad(param, torch.ones(4, 3, dtype=torch.int32)), "int32"),
    "float8": (lambda param: set_any_grad(param, torch.ones(4, 3).to(torch.float8_e5m2)), "float8"),
    "fewer elements": (lambda param: cut_grad(param, (2,)), "shape"),
    "more elements": (lambda param: cut_grad(param, (8, 3)), "shape"),
    "another shape of equal size": (lambda param: cut_grad(param, (3, 4)), "shape"),
    "fewer dimensions": (lambda param: cut_grad(param, (12,)), "shape"),
    "empty": (lambda param: cut_grad(param, (0,)), "shape"),
}


def share(param: Parameter, memory: Tensor) -> None:
    """Makes a parameter a view of memory."""
    param.grad = None
    param.data = memory
    param.grad = torch.ones(memory.shape)


# What may happen to the parameters a and b of shape (4, 3), besides a good one, and words of the error.
WRONG_MEMORY: dict[str, tuple[Callable[[Parameter, Parameter], None], str]] = {
    "expanded": (lambda a, b: share(b, torch.ones(3).expand(4, 3)), "share memory"),
    "expanded in place": (lambda a, b: share(b, b.data[:1].expand(4, 3)), "share memory"),
    "gaps": (lambda a, b: share(b, torch.ones(4, 6)[:, ::2]), "gaps"),
    "gaps between rows": (lambda a, b: share(b, torch.ones(4, 6)[:, :3]), "gaps"),
    "the same memory twice": (lambda a, b: share(b, a.data), "share memory"),
    "a transposed view of the same memory": (lambda a, b: share(b, a.data.view(3, 4).t()), "share memory"),
    "partial overlap": (
        lambda a, b: (share(a, (m := torch.ones(40))[:12].view(4, 3)), share(b, m[11:23].view(4, 3)))[0],
        "share memory",
    ),
}
