"""The layout of a kernel's arguments and the bytes of its rows, asked of the headers themselves by a small library."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qlangevin import reference_rules
from tests.core.kernels import NOISE_CODES, ROUNDING_CODES

from . import tools

SOURCE = Path(__file__).with_name("layout.cpp")
NUMBERS = ("lr", "temperature", "weight_decay", "decoupled_weight_decay", "grad_resolution", "update_resolution")
RULE_HYPERS = 8  # kMaxRuleHypers of csrc/core/scalars.h
MOST_BYTES = 1024  # more than any row has
ALIGNMENT = 16  # the largest gap that padding can leave between two fields


class Query(ctypes.Structure):
    """The arguments of machine_row."""

    _fields_ = (
        ("rule", ctypes.c_char_p),
        ("numbers", ctypes.POINTER(ctypes.c_double)),
        ("choices", ctypes.POINTER(ctypes.c_int)),
        ("multiplier", ctypes.c_double),
        ("step", ctypes.c_int64),
        ("chain", ctypes.c_uint32),
        ("compensation", ctypes.c_float),
    )


@dataclass(frozen=True)
class Layout:
    """sizes of the structs; fields: offset and size of "Struct.field"."""

    library: ctypes.CDLL
    sizes: Mapping[str, int]
    fields: Mapping[str, tuple[int, int]]

    def pack(self, struct: str, **values: int | list[int] | bytes) -> bytearray:
        """The bytes of a struct; fields that are not named are 0."""
        raw = bytearray(self.sizes[struct])
        for name, value in values.items():
            offset, size = self.fields[f"{struct}.{name}"]
            for k, one in enumerate(value) if isinstance(value, list) else [(0, value)]:
                part = one if isinstance(one, bytes) else (one % (1 << 8 * min(size, 8))).to_bytes(min(size, 8), "little")
                assert 8 * k + len(part) <= size, name
                raw[offset + 8 * k : offset + 8 * k + len(part)] = part
        return raw

    def kernel_of(self, rule: str) -> str:
        """The rule whose kernel a rule runs."""
        return str(self.library.machine_kernel(rule.encode()).decode())

    def make_row(self, rule: str, h: Mapping[str, Any], multiplier: float, step: int, chain: int, compensation: float) -> bytes:
        """ql::make_row."""
        own = [float(h[name]) for name in reference_rules.RULES[rule].hypers]
        numbers = [float(h[name]) for name in NUMBERS] + own + [0.0] * (RULE_HYPERS - len(own))
        choices = [NOISE_CODES[h["noise"]], ROUNDING_CODES[h["grad_rounding"]], ROUNDING_CODES[h["update_rounding"]]]
        choices += [int(h["stochastic_param"]), int(h["stochastic_state"]), int(h["corrected_param"]), int(h["grad_blocks"])]
        numbers_type, choices_type = ctypes.c_double * len(numbers), ctypes.c_int * len(choices)
        query = Query(
            rule.encode(), numbers_type(*numbers), choices_type(*choices), multiplier, step, chain % (1 << 32), compensation
        )
        raw = ctypes.create_string_buffer(MOST_BYTES)
        size = self.library.machine_row(ctypes.byref(query), raw)
        assert size > 0, f"no rule {rule}"
        return raw.raw[:size]


def find_compiler() -> str:
    for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        if name and (found := tools.find_all(name)):
            return found[0]
    raise tools.MissingToolError("no C++ compiler was found")


def headers_hash(*others: str) -> str:
    """A hash of csrc's headers and of other texts."""
    headers = [*(tools.ROOT / "csrc" / "core").glob("*.h"), *(tools.ROOT / "csrc" / "cuda").glob("*.h")]
    texts = [path.read_text() for path in sorted(headers)] + list(others)
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


@cache
def load_layout() -> Layout:
    """The layout of the sources as they are now."""
    compiler = find_compiler()
    path = tools.cache_folder() / f"layout-{headers_hash(SOURCE.read_text(), compiler)}.so"
    if not path.exists():
        new = path.with_suffix(f".{os.getpid()}")
        tools.run([compiler, "-std=c++20", "-DQL_GPU_ON_HOST", "-O1", "-w", "-shared", "-fPIC", str(SOURCE), "-o", str(new)])
        new.replace(path)
    library = ctypes.CDLL(str(path))
    library.machine_layout.restype = library.machine_kernel.restype = ctypes.c_char_p
    sizes, fields = {}, {}
    for line in library.machine_layout().decode().splitlines():
        name, offset, size = line.split()
        if "." in name:
            fields[name] = (int(offset), int(size))
        else:
            sizes[name] = int(size)
    check_fields(sizes, fields)
    return Layout(library, sizes, fields)


def check_fields(sizes: Mapping[str, int], fields: Mapping[str, tuple[int, int]]) -> None:
    """That layout.cpp forgets no field: what lies between those it lists is padding."""
    for struct, total in sizes.items():
        at = 0
        for offset, size in sorted(span for name, span in fields.items() if name.startswith(struct + ".")):
            padding = ALIGNMENT if offset % ALIGNMENT == 0 else 8
            assert offset - at < padding, f"{struct} has an unknown field at {at}"
            at = offset + size
        assert total - at < ALIGNMENT, f"{struct} has an unknown field at {at}"
