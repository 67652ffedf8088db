"""The source of the reference: no operation that rounds differently elsewhere, and the names and order of csrc/core."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from qlangevin import reference, reference_numbers

ROOT = Path(__file__).parents[2]
CORE = ROOT / "csrc" / "core"
SOURCES = [Path(module.__file__) for module in (reference, reference_numbers)]

FUSED = {"lerp", "lerp_", "addcmul", "addcmul_", "addcdiv", "addcdiv_", "addmm", "baddbmm", "fma", "dot", "vdot"}
LIBRARY = {
    "pow",
    "pow_",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "hypot",
    "rsqrt",
}
INACCURATE = {"floor", "floor_divide", "reciprocal", "norm", "div", "true_divide", "compile"}
OUTSIDE_THE_STEP = {"total_norm", "clip_coefficient", "compensation_factor"}  # metrics and host scalars in binary64


def receives_binary64(call: ast.Call) -> bool:
    """x.double().sqrt()."""
    function = call.func
    assert isinstance(function, ast.Attribute)
    inner = function.value
    return isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr == "double"


def inspect_call(call: ast.Call) -> str | None:
    """What is wrong with a call."""
    if any(keyword.arg == "alpha" for keyword in call.keywords):
        return "alpha="
    if not isinstance(call.func, ast.Attribute):
        return None
    name, owner = call.func.attr, call.func.value
    if isinstance(owner, ast.Name) and owner.id == "math":
        return None if name in {"sqrt", "isinf"} else f"math.{name}"
    if name in FUSED | LIBRARY | INACCURATE:
        return name
    if name.startswith("sqrt") and not receives_binary64(call):
        return "sqrt of binary32"
    return None


def inspect_operator(node: ast.BinOp) -> str | None:
    """What is wrong with an operator: powers of anything but constants, division of anything by a scalar of the step."""
    if isinstance(node.op, ast.Pow) and not (
        isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant | ast.UnaryOp)
    ):
        return "**"
    if isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
        return "division by a constant"
    if isinstance(node.op, ast.Div) and isinstance(node.right, ast.Attribute | ast.Subscript):
        scalar = ast.unparse(node.right)
        return None if scalar.startswith("h[") else f"division by {scalar}"  # h: binary64 numbers on the host
    return None


def find_forbidden(source: str) -> list[str]:
    """Every forbidden operation of a source, with its line."""
    tree = ast.parse(source)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in OUTSIDE_THE_STEP
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        problem = (
            inspect_call(node) if isinstance(node, ast.Call) else inspect_operator(node) if isinstance(node, ast.BinOp) else None
        )
        if problem and id(node) not in skipped:
            found.append(f"line {node.lineno}: {problem}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_reference_uses_no_forbidden_operation(path: Path) -> None:
    assert find_forbidden(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "x.sqrt()",
        "torch.sqrt(x)",
        "x.float().sqrt()",
        "torch.rsqrt(x)",
        "x.pow(2)",
        "x ** 2",
        "x ** s.power",
        "torch.add(x, y, alpha=2)",
        "x.lerp(y, 0.5)",
        "x.addcmul_(y, z)",
        "torch.addcdiv(x, y, z)",
        "x / 3.0",
        "x / s.lr",
        "x / s['lr']",
        "math.log(x)",
        "x.floor()",
    ],
)
def test_the_lint_finds(line: str) -> None:
    assert len(find_forbidden(line)) == 1


@pytest.mark.parametrize(
    "line", ["x.double().sqrt().float()", "math.sqrt(v)", "2.0**-24", "1.0 / h['lr']", "x * y + z", "m / denominator"]
)
def test_the_lint_allows(line: str) -> None:
    assert find_forbidden(line) == []
