"""triton_kernels mirrors csrc/core: the same names in the same order, the same constants, and exact operations alone."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from qlangevin import reference

from .sources import ROOT, block_after, functions, list_files, name_of, parse, read, without_comments
from .test_mirror import ORDER, constant, cpp_functions, field_names, header, order_in_update

FILES = list_files((".py",), ("triton_kernels",))
QUANTIZE_NAMES = {name: name for name in ("one_if", "even_of", "floor_of", "unit_of", "quantize")} | {"draws": "draws_bits"}
QUANTIZE_NAMES |= {name: name for name in ("pattern_of_magnitude", "spacing_of_block", "quantize_block")}
NORMAL_NAMES = ("averages", "law_of", "gaussian", "uniform", "rademacher", "noise_value", "average")
# Functions of csrc/core, by header, in their order there; what a mirror calls otherwise has another name on the right.
SECTIONS: list[tuple[str, str, dict[str, str]]] = [
    ("philox.h", "draw.py", {"philox": "philox"}),
    ("draw.h", "draw.py", {name: name for name in ("group_part", "purpose_base", "purpose_part", "draw")}),
    ("normal.h", "draw.py", {name: name for name in NORMAL_NAMES}),
    ("quantize.h", "rounding.py", QUANTIZE_NAMES),
    ("round.h", "rounding.py", {"widen": "widen", "round_upper": "round_upper", "round": "round_to"}),
    ("root.h", "root.py", {"inverse_root": "inverse_root"}),
    ("correct.h", "correct.py", {name: name for name in ("grid_of", "spacing_of", "correct_wide", "correct_narrow", "correct")}),
]  # fmt: skip


def functions_of(file: str, title: str = "") -> list[str]:
    """The functions of a mirror, or of its part for one header, in order."""
    text = read(f"triton_kernels/{file}")
    if title:
        parts = re.split(r"^# --- (.+?) -+$", text, flags=re.MULTILINE)
        text = dict(zip(parts[1::2], parts[2::2], strict=True))[title]
    return re.findall(r"^def (\w+)\(", text, flags=re.MULTILINE)


def source_of(file: str, name: str) -> str:
    """One function's or class's text."""
    text = read(f"triton_kernels/{file}")
    (found,) = [node for node in parse(ROOT / "triton_kernels" / file).body if getattr(node, "name", "") == name]
    return ast.get_source_segment(text, found) or ""


def fields_of(file: str, name: str) -> list[str]:
    """The fields of a named tuple."""
    return re.findall(r"^    (\w+): ", source_of(file, name), flags=re.MULTILINE)


def literal(file: str, name: str) -> Any:
    """The values that a module binds a name to, as written."""
    for node in parse(ROOT / "triton_kernels" / file).body:
        if isinstance(node, ast.Assign):
            names = ast.unparse(node.targets[0]).strip("()").split(", ")
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if name in names:
                return ast.unparse(values[names.index(name)])
    raise KeyError(name)


def number(file: str, name: str) -> int:
    found = re.fullmatch(r"tl\.constexpr\((\d+)\)", literal(file, name))
    assert found is not None, name
    return int(found[1])


@pytest.mark.parametrize(("title", "file", "names"), SECTIONS, ids=[title for title, _, _ in SECTIONS])
def test_the_functions_of_a_header_come_in_its_order(title: str, file: str, names: dict[str, str]) -> None:
    ours = [name for name in functions_of(file, title) if name in names.values()]
    theirs = [name for name in cpp_functions(header(title)) if name in names]
    assert len(theirs) == len(names), "a function of the header was renamed"
    if title != "round.h":  # there overloads of one name lie around another
        assert ours == [names[name] for name in theirs]
    assert sorted(ours) == sorted(names.values())


def test_update_h_defines_the_stages_in_the_same_order() -> None:
    assert functions_of("update.py", "update.h") == cpp_functions(header("update.h"))
    assert order_in_update(source_of("update.py", "update").replace("correct_row(", "correct(")) == ORDER


def test_the_scalars_have_the_same_names_in_the_same_order() -> None:
    text = header("scalars.h")
    assert fields_of("scalars.py", "Scalars") == field_names(block_after(text, text.index("struct Scalars")))
    assert fields_of("scalars.py", "Row") == ["common", "rule", "step", "chain"] == list(reference.Row.__dataclass_fields__)
    hyper = re.sub(r" = [^,;]*|\[\w+\]", "", block_after(text, text.index("struct Hyper")))
    assert fields_of("scalars.py", "Hyper") == field_names(hyper)
    assert literal("scalars.py", "MAX_RULE_HYPERS") == constant(text, "kMaxRuleHypers")
    assert constant(text, "kLargest") in literal("scalars.py", "LARGEST")


def test_the_scalars_are_made_by_the_same_functions_in_the_same_order() -> None:
    """The last of them needs the rules and stands behind them."""
    ours = functions_of("scalars.py", "scalars.h") + functions_of("prepare.py", "scalars.h")
    assert ours == cpp_functions(header("scalars.h"))
    theirs = cpp_functions(without_comments(read("csrc/cuda/prepare.h")))[:4]  # before the kernel
    assert theirs[-1] == "compensation_of" and functions_of("prepare.py", "prepare.h")[:4] == theirs


def test_the_scalars_kernel_takes_the_fields_of_its_structs() -> None:
    (kernel,) = [one for one in functions(parse(ROOT / "triton_kernels" / "prepare.py")) if one.name == "prepare_kernel"]
    inputs, request = fields_of("prepare.py", "Inputs"), fields_of("prepare.py", "Request")
    assert [argument.arg for argument in kernel.args.args] == [*inputs, "count", *request, "RULE"]
    statistics = [number("prepare.py", name) for name in ("STATISTICS", "DISPLACEMENT_SQUARES")]
    assert statistics == [len(reference.STATISTICS), reference.STATISTICS.index("displacement_squares")]


def test_the_statistics_have_the_same_names_in_the_same_order() -> None:
    text = header("statistics.h")
    names = re.findall(r"^    (\w+),", block_after(text, text.index("enum")), flags=re.MULTILINE)
    assert fields_of("observe.py", "Tally") == names[:-1] == list(reference.STATISTICS) and names[-1] == "count"
    text = read("csrc/cuda/observe.h")
    watched = fields_of("observe.py", "Watched")
    assert watched == [name for name in field_names(block_after(text, text.index("struct Watched"))) if name in watched]


def test_the_blocks_of_sums() -> None:
    text = header("norm.h")
    rows, columns = int(constant(text, "kNormRows")), int(constant(text, "kNormColumns"))
    groups, group = number("draw.py", "GROUPS"), number("draw.py", "GROUP")
    assert groups * group == columns and number("tables.py", "CHUNK") == rows * columns
    halvings = number("norm.py", "GROUPS_HALVINGS"), number("norm.py", "GROUP_HALVINGS")
    assert [1 << count for count in halvings] == [groups, group]


def test_the_constants() -> None:
    text, draw = header("philox.h"), read("triton_kernels/draw.py")
    words = [int(word, 16) for word in re.findall(r"0x[0-9A-F]{8}\b", draw.split("class PhiloxKey", maxsplit=1)[0])]
    assert words == [int(word, 16) for word in re.findall(r"0x[0-9A-F]{8}(?=u)", text)]
    assert number("draw.py", "ROUNDS") == int(constant(text, "kPhiloxRounds"))
    text = header("draw.h")
    for name, value in re.findall(r"(\w+) = (\d+),", block_after(text, text.index("struct Purpose"))):
        assert name == "levy" or number("draw.py", name.upper()) == int(value)
    assert number("draw.py", "GROUP") == int(constant(text, "kGroup"))
    for file, other, enum in (("draw.py", "normal.h", "NoiseKind"), ("rounding.py", "quantize.h", "GridRounding")):
        text = header(other)
        for name, value in re.findall(r"(\w+) = (\d+)", block_after(text, text.index(f"enum class {enum}"))):
            assert name == "levy" or number(file, name.upper()) == int(value)  # which the CPU alone has
    hexadecimal = re.compile(r"0x1\.[0-9a-f]+p-\d+|0x1p-?\d+")
    for file, other in (("draw.py", "normal.h"), ("correct.py", "correct.h")):
        ours, theirs = hexadecimal.findall(read(f"triton_kernels/{file}")), hexadecimal.findall(header(other))
        assert sorted(ours) == sorted(theirs), file
    storage = re.search(r"enum class Storage : int \{([^}]*)\}", header("round.h"))
    assert storage is not None
    for name, value in re.findall(r"(\w+) = (\d+)", storage[1]):
        assert number("rounding.py", name.upper()) == int(value)


@pytest.mark.parametrize(
    ("function", "other", "literals"),
    [
        ("even_of", "quantize.h", ("12582912.0",)),
        ("unit_of", "quantize.h", ("8388607.5", "0x4B000000")),
        ("quantize", "quantize.h", ("4194304.0", "0.5")),
        ("round_float16", "round.h", ("0x7BFF", "0x38000000", "0x38800000", ">> 13", "half >> 3", "8388608.0", "0x07FF")),
        ("round_upper", "round.h", ("0x7FC00000", "0x7FFF")),
    ],
)  # fmt: skip
def test_both_sides_hold_the_same_literals(function: str, other: str, literals: tuple[str, ...]) -> None:
    for one in literals:
        assert one in source_of("rounding.py", function) and one in header(other), one


# What the kernels may ask of Triton: everything here is exact, or rounds once as IEEE-754 has it.
EXACT = {
    "arange", "broadcast_to", "constexpr", "full", "inline_asm_elementwise", "join", "load", "max", "minimum", "multiple_of",
    "permute", "pointer_type", "program_id", "reshape", "split", "static_range", "store", "trans", "umulhi", "where",
    "zeros_like",
}  # fmt: skip
BINARY64 = re.compile(
    r"(\w+_)?(norm_of|clip_coefficient|compensation_factor|decayed_lr|correction|make_row|noise_variance|prepare|multiplier_of)"
)
# Triton promises no order of a sum; those of integers and of two numbers need none.
SUMS = {
    "add_count": ["tl.sum(mask.to(tl.int32), 0)"],
    "finish": ["tl.sum(tally.unmoved, 0)", "tl.sum(tally.zeroed, 0)"],
    "fold_columns": [
        "tl.sum(tl.reshape(x, (GROUP, 2, GROUPS // 2 >> level)), 1)",
        "tl.sum(tl.reshape(x, (2, GROUP // 2 >> level)), 0)",
    ],
}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_kernels_use_exact_operations_only(path: Any) -> None:
    """Divisions and square roots are those of scalars, in binary64."""
    tree = parse(path)
    apart = {id(node) for one in tree.body if BINARY64.fullmatch(getattr(one, "name", "")) for node in ast.walk(one)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "tl":
            allowed = EXACT | {"sum"} | ({"sqrt"} if id(node) in apart else set())
            assert node.func.attr in allowed, f"line {node.lineno}: tl.{node.func.attr}"
        if isinstance(node, ast.BinOp | ast.AugAssign) and id(node) not in apart:
            assert not isinstance(node.op, ast.Div | ast.Pow), f"line {node.lineno}: a division or power"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):  # of some versions 0 - x, which loses -0
            assert ast.unparse(node.operand).isupper() or isinstance(node.operand, ast.Constant | ast.BinOp), (
                f"line {node.lineno}"
            )
    jitted = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and "triton.jit" in map(ast.unparse, node.decorator_list)
    ]
    for function in jitted:
        for node in ast.walk(function):
            assert not isinstance(node, ast.UnaryOp) or ast.unparse(node.operand).isupper(), (
                f"{function.name}: {ast.unparse(node)}"
            )


def test_sums_are_of_integers_or_of_two_numbers() -> None:
    found: dict[str, list[str]] = {}
    for path in FILES:
        for function in (node for node in parse(path).body if isinstance(node, ast.FunctionDef)):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and ast.unparse(node.func) == "tl.sum"]
            if calls:
                found[function.name] = [ast.unparse(node) for node in calls]
    assert found == SUMS


def test_one_instruction_is_asked_for_by_name() -> None:
    """With the weights of normal.h, the first in the lowest byte; its other form has them in decimals."""
    asked = [found for path in FILES for found in re.findall(r"inline_asm_elementwise\(\"(.*?)\"", path.read_text())]
    weights = re.search(r"weighted_bytes<(\d+)u, (\d+)u, (\d+)u, (\d+)u>\(word, (0x4B000000)u\)", header("normal.h"))
    assert weights is not None
    packed = sum(int(weights[k + 1]) << 8 * k for k in range(4))
    assert asked == [f"dp4a.u32.u32 $0, $1, 0x{packed:08X}, {weights[5]};"]
    assert all(re.search(rf"\b{weights[k]}\b", source_of("draw.py", "weighted_bytes").split("else:")[1]) for k in range(1, 6))


def test_fusion_is_switched_off() -> None:
    for file in ("step.py", "prepare.py"):
        assert '"enable_fp_fusion": False' in literal(file, "OPTIONS").replace("'", '"')
    assert "autotune" not in "".join(path.read_text() for path in FILES)
