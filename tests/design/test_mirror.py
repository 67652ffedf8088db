"""The step is written once in csrc/core and mirrored in qlangevin/reference.py: the same names in the same order."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from qlangevin import (
    hyper,
    levy,
    optim,
    quantizers,
    reference,
    reference_grids,
    reference_levy,
    reference_numbers,
    reference_root,
    reference_rules,
)
from qlangevin.backends import native_form

from .sources import block_after, read, without_comments

MEMBERS = ("noise_variance", "prepare", "accumulate", "precondition", "displace", "finish")
# The step's order as the architecture fixes it; velocity and displacement are the sites where noise is added.
ORDER = [
    "unscale",
    "quantize_grad",
    "add_weight_decay",
    "accumulate",
    "precondition",
    "velocity",
    "displace",
    "compensate",
    "quantize_update",
]
ORDER += ["displacement", "move_param", "correct", "finish"]


def header(name: str) -> str:
    return without_comments(read(f"csrc/core/{name}"))


def section(file: str, title: str) -> str:
    """The part of a Python mirror that stands for one header."""
    parts = re.split(r"^# --- (.+?) -+$", read(file), flags=re.MULTILINE)
    return "\n".join(body for name, body in zip(parts[1::2], parts[2::2], strict=True) if title in name)


def cpp_functions(text: str) -> list[str]:
    """Names of the functions defined in a header, in order, overloads once."""
    found = re.findall(r"^(?:QL_HD|inline|constexpr)?\s*[\w:<> ]*?(\w+)\([^;{]*\)\s*\{", text, flags=re.MULTILINE)
    return list(dict.fromkeys(name for name in found if name not in ("if", "for")))


def python_functions(text: str) -> list[str]:
    return re.findall(r"^def (\w+)\(", text, flags=re.MULTILINE)


def test_update_h_defines_the_stages_in_the_reference_s_order() -> None:
    stages = cpp_functions(header("update.h"))
    mirror = python_functions(section("qlangevin/reference.py", "update.h"))
    assert stages[-1] == "update" and len(stages) >= 7
    assert mirror[: len(stages)] == stages


def order_in_update(body: str) -> list[str]:
    """The stages as a body goes through them; the noise by the site where it is added."""
    stages = [name for name in cpp_functions(header("update.h")) if "noise" not in name and name != "update"]
    pattern = rf"\b({'|'.join((*stages, *MEMBERS, 'correct'))})(?:<[^()]*>)?\(|(?:NoiseSite::|[\"])(velocity|displacement)\b"
    return [call or site for call, site in re.findall(pattern, body)]


def test_update_calls_the_stages_in_one_order() -> None:
    text = header("update.h")
    assert order_in_update(block_after(text, text.index("void update("))) == ORDER
    assert order_in_update(inspect.getsource(reference.update)) == ORDER


def cpp_rules() -> dict[str, str]:
    """The body of each rule's struct, comments kept."""
    text = "".join(read(f"csrc/core/{file}_rules.h") for file in ("momentum", "adaptive", "rmsprop"))
    found = {}
    for match in re.finditer(r"^struct (\w+)(?: : (\w+))? \{$", text, flags=re.MULTILINE):
        body = block_after(text, match.start())
        if "const char* name" in body:
            found[match[1]] = body + SEPARATOR + found.get(match[2], "")  # what a rule does not say itself is its base's
    return found


SEPARATOR = "\n// base\n"
RULES = cpp_rules()


def test_the_rules_are_the_same_in_the_same_order() -> None:
    listed = re.search(r"using AllRules = RuleList<([^>]*)>", header("rules.h"))
    assert listed is not None
    names = [name.strip() for name in listed[1].split(",")]
    assert names == list(RULES) == [rule.__name__ for rule in reference_rules.RULES.values()]
    assert all(key == rule.name for key, rule in reference_rules.RULES.items())


def constant(body: str, name: str) -> str:
    found = re.search(rf"\b{name} = ([^;]+);", body)
    assert found is not None, name
    return found[1].strip()


def commented_names(body: str, name: str) -> list[str]:
    found = re.search(rf"\b{name} = \d+;[ ]*// ([^\n]*)", body)
    return [] if found is None else [word.strip() for word in found[1].split(",")]


GROUP_FIELDS = {field for name in optim.__all__ for field in getattr(optim, name).rule_fields}
RULE_FIELDS = GROUP_FIELDS | {name for name, group_name in hyper.GROUP_NAMES.items() if group_name in GROUP_FIELDS}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_the_same_hypers_states_site_and_members(name: str) -> None:
    body, mirror = RULES[name], getattr(reference_rules, name)
    assert constant(body, "name").strip('"') == mirror.name
    assert int(constant(body, "hypers")) == len(mirror.hypers)
    assert int(constant(body, "states")) == len(mirror.states)
    assert commented_names(body, "hypers") == list(mirror.hypers)
    assert commented_names(body, "states") == list(mirror.states)
    assert constant(body, "site") == f"NoiseSite::{mirror.site}"
    assert int(constant(body, "second_moment")) == mirror.second_moment
    parts = [re.findall(r"^  static QL_HD [\w:& ]+ (\w+)\(", part, re.MULTILINE) for part in body.split(SEPARATOR)]
    assert {member for part in parts for member in part} >= set(MEMBERS)
    for part in parts:
        said = [member for member in part if member in MEMBERS]
        assert said == [member for member in MEMBERS if member in said]
    assert re.findall(r"using Kernel = (\w+);", body)[0] in (name, mirror.__base__.__name__)
    own = [key for key in vars(mirror) if key in MEMBERS]
    assert own == [key for key in MEMBERS if key in own]
    assert all(callable(getattr(mirror, key)) for key in MEMBERS)
    assert set(mirror.hypers) <= RULE_FIELDS


@pytest.mark.parametrize("name", RULES)
def test_a_rule_s_scalars_have_the_same_names(name: str) -> None:
    text = without_comments(RULES[name])
    names = field_names(block_after(text, text.index("struct Scalars")))
    values: dict[str, Any] = dict.fromkeys(("lr", *RULE_FIELDS), 0.5)
    assert list(getattr(reference_rules, name).prepare(values, 2)) == names


def field_names(body: str) -> list[str]:
    """The members of a C++ struct without member functions."""
    declared = re.findall(r"^\s*[\w:<> ]+? (\w[\w, ]*?)(?: = [^;]*)?;", body, flags=re.MULTILINE)
    return [name.strip() for names in declared for name in names.split(",")]


def test_the_scalars_of_a_step_have_the_same_names() -> None:
    text = header("scalars.h")
    names = field_names(block_after(text, text.index("struct Scalars")))
    assert len(names) > 10
    assert set(names) == set(reference.Scalars.__dataclass_fields__)
    row = field_names(block_after(text, text.index("struct Row")))
    assert row == list(reference.Row.__dataclass_fields__)


# Headers, and functions that only vector code needs or that are one expression in Python.
MIRRORED: dict[str, set[str]] = {
    "normal.h": {"averages", "law_of"},
    "quantize.h": {"one_if", "draws", "pattern_of_magnitude"},
    "scalars.h": {"effective_rounding"},
    "correct.h": set(),
}


@pytest.mark.parametrize("file", MIRRORED)
def test_a_header_s_functions_stand_in_the_mirror_in_order(file: str) -> None:
    mirror = "".join(section(f"qlangevin/reference{part}.py", file) for part in ("_numbers", "_grids", "_correct", ""))
    wanted = [name for name in cpp_functions(header(file)) if name not in MIRRORED[file]]
    assert wanted and python_functions(mirror) == wanted


def test_the_inverse_root_s_constants() -> None:
    text = header("root.h")
    assert cpp_functions(text) == ["inverse_root"]
    assert [int(word, 16) for word in re.findall(r"0x[0-9A-F]{8}", text)] == [reference_root.INVERSE_ROOT_GUESS]
    coefficients = [float.fromhex(number) for number in re.findall(r"0x1\.[0-9a-f]+p-\d", text)]
    assert coefficients == list(reference_root.INVERSE_ROOT_COEFFICIENTS[::-1])


def test_philox_s_constants() -> None:
    text, mirror = header("philox.h"), inspect.getsource(reference_numbers.philox)
    words = re.findall(r"0x[0-9A-F]{8}", text)
    assert len(words) == 4
    assert [int(word, 16) for word in words] == [int(word, 16) for word in re.findall(r"0x[0-9A-F]{8}\b", mirror)]
    rounds = inspect.signature(reference_numbers.philox).parameters["rounds"].default
    assert int(constant(text, "kPhiloxRounds")) == rounds


def test_the_purposes_of_a_draw() -> None:
    text = header("draw.h")
    purposes = dict(re.findall(r"(\w+) = (\d+),", block_after(text, text.index("struct Purpose"))))
    assert len(purposes) == 6
    for name, value in purposes.items():
        assert getattr(reference_numbers, name.upper()) == int(value)
    assert int(constant(text, "kGroup")) == reference_numbers.GROUP


def test_the_noise_laws_constants() -> None:
    text = header("normal.h")
    weights = re.search(r"weighted_bytes<([^>]*)>", text)
    assert weights is not None
    assert tuple(int(word.strip().rstrip("u")) for word in weights[1].split(",")) == reference_numbers.BYTE_WEIGHTS
    mean = re.search(r"float_of\(sum\) - (\d+)\.0f;", text)
    assert mean is not None and int(mean[1]) == 2**23 + reference_numbers.BYTE_SUM_MEAN
    signed = [sign + number for sign, number in re.findall(r"(-|)\s*(0x1\.[0-9a-f]+p-\d+)f", text)]
    values = [float.fromhex(number) for number in signed]
    assert values[0] == reference_numbers.BYTE_SUM_INVERSE_SD
    assert values[1:8] == list(reference_numbers.NORMAL_COEFFICIENTS[::-1])
    assert values[8:] == [reference_numbers.UNIFORM_SPACING]


def test_levy_noise_s_constants() -> None:
    text, mirror = without_comments(read("csrc/cpu/levy.cpp")), read("qlangevin/reference_levy.py")
    assert float.fromhex(constant(text, "kQuarterTurn")) == reference_levy.QUARTER_TURN
    assert re.findall(r"0x1p(-\d+)", text) == re.findall(r"2\.0 ?\*\*(-\d+)", mirror) == ["-39", "-24"]
    for literal in ("0x7FFFFFFF", "<< 8", ">> 24", "0xFFFFFF", "v < 0.5", "(tail_index - 1.0) / tail_index", "sine / cosine *"):
        assert literal in text and literal in mirror, literal


NOISE_NAMES = (*hyper.NOISES, levy.LEVY, *(hyper.AVERAGED + name for name in hyper.NOISES))


@pytest.mark.parametrize(
    ("file", "enum", "names", "codes"),
    [
        ("normal.h", "NoiseKind", NOISE_NAMES, native_form.NOISE_CODES),
        ("quantize.h", "GridRounding", ("off", *quantizers.ROUNDINGS), native_form.ROUNDING_CODES),
    ],
)
def test_enumerations(file: str, enum: str, names: tuple[str, ...], codes: dict[str, int]) -> None:
    text = header(file)
    values = {
        name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", block_after(text, text.index(f"enum class {enum}")))
    }
    assert tuple(values) == names
    assert values == codes


@pytest.mark.parametrize(
    ("file", "function", "literals"),
    [
        ("quantize.h", reference_grids.even_of, ("12582912.0",)),
        ("quantize.h", reference_grids.quantize, ("4194304.0", "0.5")),
        ("round.h", reference_numbers.round_to, ("0x7BFF", "0x38000000", "0x38800000", ">> 13", "half >> 3", ">> 16")),
    ],
)
def test_both_sides_hold_the_same_literals(file: str, function: Any, literals: tuple[str, ...]) -> None:
    text, mirror = header(file), inspect.getsource(function)
    for literal in literals:
        assert literal in text and literal in mirror, literal


def test_the_blocks_of_a_norm() -> None:
    text = header("norm.h")
    assert int(constant(text, "kNormRows")) == reference_numbers.ROWS
    assert int(constant(text, "kNormColumns")) == reference_numbers.COLUMNS


def test_the_statistics_of_a_step() -> None:
    text = header("statistics.h")
    names = [name.strip() for name in block_after(text, text.index("enum")).strip("{};\n ").split(",") if name.strip()]
    assert names == [*reference.STATISTICS, "count"]


def test_hypers_handed_to_the_kernels_are_those_of_the_rule() -> None:
    text = read("csrc/bind.cpp")
    handed = set(re.findall(r'values\["(\w+)"\]', text))
    values = {field: None for field in reference.Scalars.__dataclass_fields__}
    skipped = {"grad_multiplier", "noise_scale", "grad_spacing", "update_spacing", "compensation"}  # not of a group alone
    assert handed - {"temperature", "rule", "compensation"} == set(values) - skipped
