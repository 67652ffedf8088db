"""Who may import whom: the dependency directions of the architecture as a table, over the sources as they stand."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from .sources import ROOT, list_files, name_of, parse

# A module or package of qlangevin, and what it may import besides the standard library and its own package.
# "torch" and the like are other distributions; everything else is a module of qlangevin.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "arguments": set(),
    "scalar_values": set(),
    "schedules": {"errors", "scalar_values"},
    "quantizers": {"errors", "scalar_values"},
    "thermostat": {"errors", "scalar_values"},
    "fields": {"errors", "quantizers", "scalar_values"},
    "levy": {"errors", "scalar_values"},
    "hyper": {"errors", "fields", "levy", "quantizers", "scalar_values", "thermostat"},
    "reference_grids": {"torch", "scalar_values"},
    "reference_levy": {"torch"},
    "reference_numbers": {"torch", "reference_grids", "reference_levy", "scalar_values"},
    "reference_momentum_rules": {"torch", "reference_numbers"},
    "reference_root": {"torch"},
    "reference_correct": {"torch", "reference_grids", "reference_root"},
    "reference_adaptive_rules": {"torch", "reference_numbers", "reference_root", "reference_momentum_rules", "scalar_values"},
    "reference_rmsprop_rules": {"torch", "reference_numbers", "reference_adaptive_rules"},
    "reference_rules": {"reference_momentum_rules", "reference_adaptive_rules", "reference_rmsprop_rules"},
    "reference": {"torch", "reference_correct", "reference_grids", "reference_numbers", "reference_rules"},
    "buckets": {"torch", "errors"},
    "native_module": set(),
    "watch": {"torch", "native_module", "buckets"},
    "group_hypers": {
        "torch", "native_module", "errors", "levy", "hyper", "reference_rules", "reference_numbers", "scalar_values",
    },
    "layers": {"torch", "errors", "scalar_values", "buckets"},
    "seeding": {"torch"},
    "backends": {
        "torch", "native_module", "triton_kernels", "errors", "levy", "hyper", "quantizers", "buckets", "reference",
        "reference_numbers", "reference_rules", "scalar_values",
    },
    "metrics": {"torch", "errors", "levy", "reference", "thermostat"},
    "device_hypers": {"torch", "errors", "hyper", "quantizers", "group_hypers", "backends"},
    "tensor_states": {"torch", "errors", "scalar_values", "buckets"},
    "execution": {
        "torch", "errors", "levy", "hyper", "buckets", "watch", "group_hypers", "device_hypers", "tensor_states",
        "reference_rules", "backends", "metrics", "scalar_values",
    },
    "executions": {"native_module", "backends", "execution"},
    "clipping": {"torch", "reference_numbers", "backends", "execution"},
    "displacements": {"quantizers", "reference_numbers", "backends", "execution"},
    "state": {"torch", "errors", "hyper", "quantizers", "scalar_values", "schedules", "buckets", "reference_rules"},
    "optim": {
        "torch", "errors", "fields", "levy", "hyper", "quantizers", "scalar_values", "schedules", "buckets", "seeding",
        "backends", "executions", "group_hypers", "clipping", "device_hypers", "displacements", "metrics", "state",
    },
    "selftest": {"torch", "errors", "quantizers", "schedules", "reference", "reference_numbers", "backends", "optim"},
    "": {"errors", "layers", "quantizers", "schedules", "thermostat", "optim"},
    "triton_kernels": {"torch", "triton"},
}  # fmt: skip
USERS = ("bench", "demo", "__main__")  # may import anything of the package

# Stated once more, as the architecture does: what these may never reach, not even through others.
NEVER: dict[str, set[str]] = {
    **{name: {"torch", "backends", "_native", "reference"} for name in ("hyper", "thermostat", "schedules", "quantizers")},
    "reference": {"backends", "_native", "hyper", "optim", "buckets"},
    "backends": {"optim", "execution", "state"},
}

# A folder of csrc, and the folders of csrc that it may include; other includes are the standard library's, unless listed.
CPP_FOLDERS: dict[str, set[str]] = {
    "core": {"core"},
    "cpu": {"core", "cpu"},
    "cuda": {"core", "cuda"},
    "": {".", "core", "cpu", "cuda"},
}
CPP_OTHERS: dict[str, set[str]] = {
    "core": set(),
    "cpu": {"immintrin.h", "pthread.h"},
    "cuda": {"cuda_runtime_api.h"},
    "": {"pybind11/pybind11.h", "pybind11/stl.h"},
}


def unit_of(path: Path) -> str:
    """The row of a Python file: its package or module right below qlangevin."""
    if path.is_relative_to(ROOT / "triton_kernels"):
        return "triton_kernels"
    parts = path.relative_to(ROOT / "qlangevin").with_suffix("").parts
    return "" if parts[0] == "__init__" else parts[0]


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def resolve(path: Path, node: ast.ImportFrom) -> list[str]:
    """The absolute names that a `from` import brings in."""
    module = node.module or ""
    if node.level:
        inside = path.relative_to(ROOT)
        package = ("qlangevin", *inside.parts[inside.parts[0] == "qlangevin" : -1])  # triton_kernels is a package of it
        base = package[: len(package) - node.level + 1]
        module = ".".join([*base, *([module] if module else [])])
    if module in ("qlangevin", "qlangevin.backends") or not node.module:
        return [f"{module}.{alias.name}" for alias in node.names]
    return [module]


def imports_of(path: Path) -> set[str]:
    """Rows and distributions that a file imports when it runs, without the standard library."""
    tree, names = parse(path), []
    hidden = {id(inner) for node in ast.walk(tree) if is_type_checking(node) for inner in ast.walk(node)}  # type: ignore[arg-type]
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += resolve(path, node)
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "qlangevin":
            found.add(parts[1] if len(parts) > 1 else "")
        elif parts[0] not in sys.stdlib_module_names:
            found.add(parts[0])
    return found


PYTHON = list_files((".py",), ("qlangevin", "triton_kernels"))


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_a_python_file_imports_only_what_its_row_allows(path: Path) -> None:
    unit = unit_of(path)
    if unit in USERS:
        return
    assert unit in ALLOWED, f"{name_of(path)} has no row in ALLOWED"
    own = {unit, "__version__"} if unit else {"__version__"}
    assert imports_of(path) - own <= ALLOWED[unit]


def reach(unit: str, seen: set[str]) -> set[str]:
    """Everything that a row imports, directly or through others."""
    for path in PYTHON:
        if unit_of(path) == unit:
            for name in imports_of(path) - seen:
                seen.add(name)
                reach(name, seen)
    return seen


@pytest.mark.parametrize("unit", NEVER)
def test_what_is_out_of_reach(unit: str) -> None:
    found = reach(unit, set())
    assert unit in map(unit_of, PYTHON), f"{unit} was renamed"
    assert not found & NEVER[unit]


def test_the_table_has_no_cycle() -> None:
    order = [name for name in ALLOWED if name not in ("", "triton_kernels")]
    for at, name in enumerate(order):
        assert not ALLOWED[name] & set(order[at:]), f"{name} may import what comes after it"


ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
TORCH_CALLS = {"torch.no_grad", "torch.enable_grad"}


@pytest.mark.parametrize("path", list_files((".py",), ("qlangevin/optim",)), ids=name_of)
def test_an_optimizer_holds_no_formula(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.BinOp | ast.AugAssign):
            assert not isinstance(node.op, ARITHMETIC), f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not called.startswith("math."), f"line {node.lineno}: {called}"
            assert not called.startswith("torch.") or called in TORCH_CALLS, f"line {node.lineno}: {called}"
            assert not re.fullmatch(r".*\.[a-z]+_", called), f"line {node.lineno}: {called} mutates a tensor"


STANDARD = {
    "algorithm", "array", "atomic", "bit", "cfenv", "chrono", "cmath", "condition_variable", "cstddef", "cstdint", "cstdlib",
    "cstring", "functional", "limits", "map", "memory", "mutex", "optional", "stdexcept", "string", "thread", "tuple",
    "type_traits", "unordered_map", "utility", "vector",
}  # fmt: skip
CPP = list_files((".h", ".cpp", ".cu", ".in"), ("csrc",))


@pytest.mark.parametrize("path", CPP, ids=name_of)
def test_a_native_file_includes_only_what_its_row_allows(path: Path) -> None:
    parent = path.parent.relative_to(ROOT / "csrc").as_posix()
    folder = "" if parent == "." else parent
    for bracket, name in re.findall(r'#include ([<"])([^>"]+)', path.read_text()):
        if bracket == "<":
            assert name in STANDARD | CPP_OTHERS[folder], f"<{name}>"
            continue
        target = (path.parent / name).resolve()
        assert target.is_file(), f'"{name}" does not exist'
        inside = target.parent.relative_to(ROOT / "csrc").as_posix()
        assert inside in CPP_FOLDERS[folder], f'"{name}"'


def test_native_sources_know_no_torch() -> None:
    assert CPP
    for path in CPP:
        code = re.sub(r"//[^\n]*", "", path.read_text())
        assert not re.search(r"\b(torch|at|c10)::|ATen", code), name_of(path)
