"""Noise as the native kernels add it, and the sample sizes: a few million draws in the quick run, 1e8 with QLANGEVIN_FULL=1."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray

from tests.core.kernels import Job, Step, settings, step_native

FULL = os.environ.get("QLANGEVIN_FULL") == "1"
DRAWS = 100_000_000 if FULL else 4_000_000
CHUNK = 4_000_000
KEY = 0x5DEECE66D1234567

Array = NDArray[np.float64]


def draw_noise(count: int, kind: str = "gaussian", *, key: int = KEY, step: int = 1, chain: int = 0, offset: int = 0) -> Array:
    """Noise values of one tensor: its parameter is 0, its gradient too, and 2 lr T = 1."""
    job = Job(torch.zeros(count), torch.zeros(count), key=key, offset=offset, steps=torch.tensor(step - 1))
    step_native(Step("plain", [settings(lr=0.5, temperature=1.0, noise=kind)], chain=chain), [job], threads=2)
    return job.param.double().numpy()
