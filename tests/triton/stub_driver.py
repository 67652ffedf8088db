"""A GPU's driver that loads nothing and launches nothing: Triton compiles and launches as on a GPU, and the launches are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from qlangevin.backends import triton, triton_support
from qlangevin.triton_kernels import launch


@dataclass(frozen=True)
class Launched:
    """One launch, and the arguments that are no constants."""

    kernel: str
    programs: int
    arguments: tuple[Any, ...]


class Utils:
    """What a driver does with a kernel's code."""

    def load_binary(self, *_: Any) -> tuple[object, int, int, int, int]:
        return object(), 1, 0, 0, 1024

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 227 * 1024}


LAUNCHES: list[Launched] = []  # Triton keeps a kernel that is loaded, and with it the first stub, for good


class StubDriver:
    """An sm_90 device without a GPU behind it."""

    def __init__(self) -> None:
        self.utils = Utils()
        self.launches = LAUNCHES
        self.launches.clear()

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        def keep(x: int, y: int, z: int, stream: int, function: Any, *rest: Any) -> None:
            LAUNCHES.append(Launched(metadata.name, x * y * z, rest[4:]))

        return keep

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


@contextlib.contextmanager
def stub_driver() -> Iterator[StubDriver]:
    """Takes the CPU's tensors for a GPU's, and launches nothing."""
    stub = StubDriver()
    with (
        mock.patch.object(driver, "_active", stub),
        mock.patch.object(triton_support, "why_not", lambda device: None),
        mock.patch.object(triton, "is_interpreting", lambda: True),  # of tensors of the CPU
        mock.patch.dict(launch.compiled_kernels, clear=True),
    ):
        yield stub
