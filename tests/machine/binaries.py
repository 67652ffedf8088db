"""The compiled kernels: from the native module if it holds any, else compiled here.

A module is taken apart with cuobjdump; each binary in it is for one architecture and holds many kernels.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from qlangevin import reference_rules

from . import tools
from .layout import headers_hash, load_layout
from .sass import Code, parse_section, split_sections

STORAGE = {"Float32": "float32", "BFloat16": "bfloat16", "Float16": "float16"}
STATES = ("Float32", "BFloat16")
FLAGS = ("-std=c++20", "-O3", "--fmad=false")
ARCHITECTURE = re.compile(r"sm_(\d+)[a-z]?")
STEP = re.compile(r"^void ql::cuda::step_kernel<(.*)>\(ql::cuda::Arguments\)$")
ANY = re.compile(r"ql::OneOf<[^>]*>")  # a storage type that the arguments name


@dataclass(frozen=True)
class Resources:
    """What cuobjdump says of a kernel."""

    registers: int
    stack: int
    shared: int
    local: int


@dataclass(frozen=True)
class Kernel:
    """One kernel for one architecture. rule, param, grad, state, observed, unusual: the template's arguments, if it is a step."""

    name: str
    architecture: int
    resources: Resources
    lines: tuple[str, ...] = field(repr=False)
    arguments: tuple[str, ...] = ()
    tables: bytes = b""

    @property
    def is_step(self) -> bool:
        return bool(self.arguments)

    @property
    def observed(self) -> bool:
        return self.arguments[4] != "false"

    @property
    def is_seldom(self) -> bool:
        """Whether it is for unusual steps that are observed besides: it alone may spill."""
        return self.is_step and self.observed and self.arguments[5] != "false"

    @property
    def rule(self) -> str:
        """The Python name of its rule."""
        (found,) = [name for name, rule in reference_rules.RULES.items() if rule.__name__ == self.arguments[0].split("::")[-1]]
        return found

    @property
    def takes_any(self) -> bool:
        """Whether its arguments name the storage types."""
        return "any" in self.arguments

    @property
    def storage(self) -> tuple[str, str, str]:
        """The storage types of parameter, gradient and states, of a kernel that was compiled for them."""
        param, grad, state = (STORAGE[one.split("::")[-1]] for one in self.arguments[1:4])
        return param, grad, state

    @property
    def title(self) -> str:
        """For people."""
        if not self.is_step:
            return f"{self.name} sm_{self.architecture}"
        storage = ["any"] if self.takes_any else self.storage[: 2 + bool(self.states)]
        return " ".join([self.rule, "/".join(storage), *(["observed"] if self.observed else [])])

    @property
    def states(self) -> int:
        """How many states its rule has."""
        return len(reference_rules.RULES[self.rule].states)

    def parse(self) -> Code:
        """Its instructions."""
        return parse_section(self.name, list(self.lines), self.tables)


@dataclass(frozen=True)
class Binaries:
    """All kernels of all architectures, and the PTX they were made from."""

    source: str
    kernels: tuple[Kernel, ...]
    ptx: tuple[str, ...]

    def steps(self, architecture: int) -> list[Kernel]:
        """The step kernels for an architecture, but for seldom ones."""
        return [one for one in self.kernels if one.architecture == architecture and one.is_step and not one.is_seldom]


def demangle(name: str) -> str:
    """The C++ name of a symbol."""
    library = ctypes.CDLL("libstdc++.so.6")
    library.__cxa_demangle.restype = ctypes.c_char_p
    found = library.__cxa_demangle(name.encode(), None, None, ctypes.byref(ctypes.c_int()))
    return found.decode() if found else name


def template_arguments(name: str) -> tuple[str, ...]:
    """The arguments of a step kernel; none for other kernels."""
    found = STEP.match(demangle(name))
    return tuple(ANY.sub("any", found.group(1)).split(", ")) if found else ()


def read_resources(text: str) -> dict[str, Resources]:
    """The kernels of cuobjdump -res-usage."""
    pattern = r"Function (\S+):\n\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)"
    return {name: Resources(*map(int, numbers)) for name, *numbers in re.findall(pattern, text)}


def read_cubin(path: Path, architecture: int) -> list[Kernel]:
    """The kernels of one binary."""
    resources = read_resources(tools.run([tools.find("cuobjdump"), "-res-usage", str(path)]))
    text = tools.run([tools.find("nvdisasm"), str(path)])
    return [
        Kernel(name, architecture, resources[name], tuple(lines), template_arguments(name), tables)
        for name, lines, tables in split_sections(text)
    ]


def read_module(path: Path) -> Binaries | None:
    """The kernels inside a library; None if it has none."""
    cuobjdump = tools.find("cuobjdump")
    with tempfile.TemporaryDirectory() as folder:
        try:
            tools.run([cuobjdump, "-xelf", "all", str(path)], cwd=Path(folder))
        except RuntimeError:
            return None  # it complains of a library without device code
        kernels = []
        for cubin in sorted(Path(folder).glob("*.cubin")):
            found = ARCHITECTURE.search(cubin.name)
            assert found, f"no architecture in the name {cubin.name}"
            kernels += read_cubin(cubin, int(found.group(1)))
    if not any(one.is_step for one in kernels):
        return None
    return Binaries(str(path), tuple(kernels), (tools.run([cuobjdump, "-ptx", str(path)]),))


def instantiations() -> list[str]:
    """A line for each step kernel that a rule of the package needs."""
    layout = load_layout()
    lines = []
    for name, rule in reference_rules.RULES.items():
        if layout.kernel_of(name) == name:
            states = STATES if rule.states else STATES[:1]
            types = [f"{param}, {param}, {state}, false, false" for state in states for param in STORAGE]
            types += [f"AnyStorage, AnyStorage, AnyState, {kind}" for kind in ("false, true", "true, false", "true, true")]
            lines += [f"template __global__ void ql::cuda::step_kernel<{rule.__name__}, {one}>" for one in types]
    return [f"{line}(const __grid_constant__ Arguments);" for line in lines]


def compile_part(lines: list[str], architecture: int) -> tuple[Path, Path]:
    """The binary and the PTX of some kernels; kept until a header changes."""
    header = f'#include "{tools.ROOT}/csrc/cuda/step.h"'
    source = "\n".join([header, "using namespace ql;", "using namespace ql::cuda;", *lines, ""])
    nvcc = tools.find("nvcc")
    stem = tools.cache_folder() / f"step-{headers_hash(source, str(architecture), *FLAGS, tools.run([nvcc, '--version']))}"
    cubin, ptx = stem.with_suffix(".cubin"), stem.with_suffix(".ptx")
    if not (cubin.exists() and ptx.exists()):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "step.cu"
            file.write_text(source)
            tools.run(
                [
                    nvcc,
                    *FLAGS,
                    f"-arch=sm_{architecture}",
                    "-cubin",
                    "--keep",
                    f"--keep-dir={folder}",
                    "-o",
                    f"{folder}/new.cubin",
                    str(file),
                ]
            )
            (Path(folder) / "step.ptx").replace(ptx)
            (Path(folder) / "new.cubin").replace(cubin)
    return cubin, ptx


def compile_kernels(architecture: int) -> Binaries:
    """Compiles the step kernels in as many parts as there are processors."""
    lines = instantiations()
    count = os.cpu_count() or 1
    with ThreadPoolExecutor(count) as pool:
        parts = list(pool.map(lambda k: compile_part(lines[k::count], architecture), range(count)))
    kernels = [kernel for cubin, _ in parts for kernel in read_cubin(cubin, architecture)]
    return Binaries("nvcc", tuple(kernels), tuple(ptx.read_text() for _, ptx in parts))


@cache
def load_binaries() -> Binaries:
    """The kernels of the native module, or compiled for sm_90; MissingToolError if neither is to be had.

    QLANGEVIN_KERNELS=compile compiles the headers as they are now, whatever the module holds.
    """
    _native = importlib.import_module("qlangevin._native")

    module = None if os.environ.get("QLANGEVIN_KERNELS") == "compile" else read_module(Path(str(_native.__file__)))
    return module or compile_kernels(90)
