"""The storage types that kernels take."""

from __future__ import annotations

from collections.abc import Iterable

import torch

STORAGE = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


def why_no_kernel(dtypes: Iterable[torch.dtype]) -> str | None:
    """Why no kernel steps tensors of such types; None if there are some."""
    for dtype in dtypes:
        if dtype not in STORAGE:
            return f"its kernels take float32, bfloat16 and float16, not {str(dtype).removeprefix('torch.')}"
    return None
