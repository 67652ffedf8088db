"""The source of the reference: no operation that rounds differently elsewhere, and the names and order of csrc/core."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from qlangevin import reference, reference_numbers

from .kernels import NOISE_CODES, ROUNDING_CODES

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
OUTSIDE_THE_STEP = {"measure", "total_norm", "clip_coefficient"}  # metrics and host scalars in binary64


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


# --- the mirror of csrc/core --------------------------------------------------------------------------------------------


def parse_rules() -> list[dict[str, object]]:
    """Name, hyper-parameters, states and site of each struct in rules.h, in the order of AllRules."""
    text = (CORE / "rules.h").read_text()
    rules = {}
    for block in re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.S | re.M):
        name = re.search(r'name = "(\w+)"', block[1])
        if name is None:
            continue
        listed = {key: re.search(rf"int {key} = (\d+);(?: *// ([\w, ]+))?", block[1]) for key in ("hypers", "states")}
        counts = {key: int(match[1]) for key, match in listed.items() if match}
        names = {key: tuple(match[2].split(", ")) if match and match[2] else () for key, match in listed.items()}
        assert all(len(names[key]) == counts[key] for key in counts), block[0]
        site = re.search(r"NoiseSite::(\w+);", block[1])
        assert site is not None
        rules[block[0]] = {"name": name[1], "site": site[1], **names}
    order = re.search(r"AllRules = RuleList<([\w, ]+)>", text)
    assert order is not None
    return [rules[name] for name in order[1].split(", ")]


def test_the_rules_are_those_of_the_core() -> None:
    mirrored = [{"name": r.name, "site": r.site, "hypers": r.hypers, "states": r.states} for r in reference.RULES.values()]
    assert mirrored == parse_rules()


def test_the_stages_are_those_of_the_core_in_its_order() -> None:
    functions = re.findall(r"QL_HD [\w: ]+ (\w+)\(", (CORE / "update.h").read_text())
    assert "update" in functions
    mirrored = [node.name for node in ast.parse(SOURCES[0].read_text()).body if isinstance(node, ast.FunctionDef)]
    start = mirrored.index(functions[0])
    assert mirrored[start : start + len(functions)] == functions


def test_the_update_calls_its_stages_in_the_core_s_order() -> None:
    body = (CORE / "update.h").read_text().split("void update(")[1]
    stages = re.compile(
        r"\b(unscale|quantize_grad|add_weight_decay|accumulate|scaled_noise|displace|quantize_update|finish|move_param)\b"
    )
    source = SOURCES[0].read_text().split("def update(")[1].split("\n\n\n")[0]
    native, mirrored = stages.findall(body), stages.findall(source)
    once = [name for name in native if name != "scaled_noise"]  # called at the velocity or the displacement
    assert [name for name in mirrored if name != "scaled_noise"] == once
    assert len(once) == 8


def test_the_purposes_and_codes_are_those_of_the_core() -> None:
    purposes = dict(re.findall(r"^    (\w+) = (\d+),", (CORE / "draw.h").read_text(), re.M))
    assert {name: getattr(reference_numbers, name.upper()) for name in purposes} == {
        name: int(code) for name, code in purposes.items()
    }
    enums = {}
    for file in ("normal.h", "quantize.h"):
        for name, body in re.findall(r"enum class (\w+) : int32_t \{(.*?)\};", (CORE / file).read_text()):
            enums[name] = {key: int(code) for key, code in re.findall(r"(\w+) = (\d+)", body)}
    assert enums == {"NoiseKind": NOISE_CODES, "GridRounding": ROUNDING_CODES}


def test_the_noise_constants_are_those_of_the_core() -> None:
    text = (CORE / "normal.h").read_text()
    weights = re.search(r"weighted_bytes<([\du, ]+)>", text)
    assert weights is not None
    assert tuple(int(w) for w in re.findall(r"\d+", weights[1])) == reference_numbers.BYTE_WEIGHTS
    written = {abs(float.fromhex(c)) for c in re.findall(r"0x1\.[0-9a-f]+p[+-]\d+", text)}
    constants = (*reference_numbers.NORMAL_COEFFICIENTS, reference_numbers.BYTE_SUM_INVERSE_SD, reference_numbers.UNIFORM_SPACING)
    assert written == {abs(c) for c in constants}
    assert f"{8388608 + reference_numbers.BYTE_SUM_MEAN}.0f" in text
