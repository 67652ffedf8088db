"""The laws of the code that a program can check: sizes, names, forbidden operations, no machine's paths."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from .sources import CODE, TEXT, count_code_lines, functions, list_files, name_of, parse, read, without_comments

FILE_LINES, FUNCTION_LINES, OPTIMIZER_LINES, PARAMETERS = 300, 50, 100, 6
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
SOURCES = list_files(CODE)
PYTHON = list_files((".py",))
PACKAGE = list_files((".py",), ("qlangevin", "triton_kernels"))
OPTIMIZERS = [path for path in list_files((".py",), ("qlangevin/optim",)) if path.stem not in ("__init__", "base")]


def test_the_lists_are_not_empty() -> None:
    assert len(SOURCES) > 50 and len(PACKAGE) > 20 and OPTIMIZERS
    assert {"qlangevin/reference.py", "csrc/core/update.h", "tests/design/test_laws.py"} <= set(map(name_of, SOURCES))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < FILE_LINES


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    for function in functions(parse(path)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        docstring = ast.get_docstring(function, clean=False)
        lines -= 0 if docstring is None else docstring.count("\n") + 1
        assert lines < FUNCTION_LINES, function.name


@pytest.mark.parametrize("path", list_files((".h", ".cpp", ".cu"), ("csrc",)), ids=name_of)
def test_native_functions_are_short(path: Path) -> None:
    # A function's body, by this project's format, ends with the first brace at the indent of its beginning.
    begun: list[tuple[int, int]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if re.search(r"\)( const)?( noexcept)? \{$", line) and not re.match(r"\s*(if|for|while|switch|else|\})", line):
            begun.append((number, indent))
        elif line.strip() in ("}", "});") and begun and begun[-1][1] == indent:
            start, _ = begun.pop()
            assert number - start < FUNCTION_LINES, f"line {start}"


@pytest.mark.parametrize("path", list_files(TEXT), ids=name_of)
def test_no_merge_was_left_undone(path: Path) -> None:
    assert not re.search(r"^(<{7} |={7}$|>{7} )", path.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", OPTIMIZERS, ids=name_of)
def test_an_optimizer_is_short(path: Path) -> None:
    assert count_code_lines(path) < OPTIMIZER_LINES


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_functions_take_few_parameters(path: Path) -> None:
    for function in functions(parse(path)):
        # Public constructors take torch's arguments, kernels the fields of what would be a struct elsewhere.
        if function.name == "__init__" or function.name.endswith("_kernel"):
            continue
        if any("do_not_specialize" in ast.unparse(one) for one in function.decorator_list):  # a Triton kernel: a struct's fields
            continue
        arguments = function.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        assert len([name for name in names if name not in ("self", "cls")]) <= PARAMETERS, function.name


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_file_and_folder_names_say_what_is_inside(path: Path) -> None:
    words = {word for part in Path(name_of(path)).with_suffix("").parts for word in part.split("_")}
    assert not words & FORBIDDEN_NAMES


FOREIGN = re.compile(r"(?<![\w.$}])/(?:work|tmp|home|root|Users|mnt|data|opt)(?:/|\b)")


@pytest.mark.parametrize("path", [path for path in list_files(TEXT) if path != Path(__file__)], ids=name_of)
def test_no_path_of_a_machine(path: Path) -> None:
    found = FOREIGN.search(path.read_text())
    assert found is None, found


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_public_functions_have_docstrings_of_one_first_sentence(path: Path) -> None:
    for function in functions(parse(path)):
        docstring = ast.get_docstring(function)
        if docstring is not None:
            assert re.search(r"[.:]$", docstring.split("\n\n")[0].strip()), f"{function.name}: {docstring.splitlines()[0]}"


# Operations that round otherwise than their parts, or whose bits differ between platforms.
FUSED = {"addcmul", "addcdiv", "lerp", "fma", "baddbmm", "addmm"}
INEXACT = {
    "sqrt", "rsqrt", "pow", "exp", "log", "log2", "log10", "log1p", "sin", "cos", "tanh", "reciprocal", "floor", "round", "div",
    "norm",
}  # fmt: skip
RANDOM = {"randn", "rand", "randint", "normal", "bernoulli", "randn_like", "rand_like", "Generator", "manual_seed"}
MEASURES = {"norm_of", "clip_coefficient", "compensation_factor", "inverse_root_of_binary64"}
SCALARS = {"make_row", "noise_variance", "prepare", "decayed_lr", "square_correction", "correction"}


@pytest.mark.parametrize(
    "name",
    [
        f"qlangevin/reference{part}.py"
        for part in ("", "_numbers", "_root", "_correct", "_rules", "_momentum_rules", "_adaptive_rules", "_rmsprop_rules")
    ],
)
def test_the_reference_uses_exact_operations_only(name: str) -> None:
    tree = ast.parse(read(name))
    binary64 = [function for function in functions(tree) if function.name in MEASURES | SCALARS]  # not a step's elements
    apart = {id(node) for function in binary64 for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func.attr.rstrip("_")
            assert called not in FUSED | RANDOM, f"line {node.lineno}: {called}"
            assert called not in INEXACT or id(node) in apart, f"line {node.lineno}: {called}"
            fused = [keyword.arg for keyword in node.keywords if keyword.arg in ("alpha", "beta", "value")]
            assert not fused, f"line {node.lineno}: {fused} in one operation"
        if isinstance(node, ast.BinOp) and id(node) not in apart:
            assert not isinstance(node.op, ast.Div), f"line {node.lineno}: a division"
            assert not isinstance(node.op, ast.Pow) or isinstance(node.left, ast.Constant), f"line {node.lineno}: a power"


@pytest.mark.parametrize("path", list_files((".h",), ("csrc/core",)), ids=name_of)
def test_core_uses_exact_operations_only(path: Path) -> None:
    code = without_comments(path.read_text())
    calls = set(re.findall(r"\b(?:std::)?(\w+)\(", code))
    forbidden = {"fma", "fmaf", "exp", "expf", "log", "logf", "pow", "powf", "sin", "cos", "tanh", "rsqrt", "rand", "malloc"}
    assert not calls & forbidden
    roots = [line for line in code.splitlines() if re.search(r"\bsqrtf?\(", line)]  # only of binary64 scalars, once a step
    assert path.name == "scalars.h" or all("sqrt(square_correction(" in line for line in roots)
    assert not re.search(r"\b(static|thread_local) (?!constexpr|inline|QL_HD|_?[\w:<> ]+\()[\w:<>]+ \w+( =|;)", code), "a global"


def test_the_build_forbids_contraction() -> None:
    text = read("CMakeLists.txt")
    assert "-ffp-contract=off" in text and "--fmad=false" in text
    assert not re.search(r"-ffast-math|-Ofast|-march=native|-funsafe", text)
