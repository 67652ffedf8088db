"""The rules of triton_kernels mirror those of csrc/core: functions and scalars of the same names in the same order."""

from __future__ import annotations

import ast
import re

import pytest

from qlangevin import reference_rules

from .sources import block_after, read
from .test_mirror import MEMBERS, RULES, SEPARATOR, field_names, header
from .test_triton_mirror import fields_of, functions_of, literal, source_of

KERNELS = ast.literal_eval(literal("rules.py", "KERNELS"))


def test_every_rule_has_a_kernel() -> None:
    assert list(KERNELS) == list(reference_rules.RULES)
    for name, body in RULES.items():
        mirror = getattr(reference_rules, name)
        kernel = re.findall(r"using Kernel = (\w+);", body)[0]
        assert KERNELS[mirror.name] == getattr(reference_rules, kernel).name


RULE_FILES = ("momentum_rules", "adaptive_rules", "rmsprop_rules")


def functions_of_rules(text: str) -> list[str]:
    """The functions of a header of rules, in order, as a mirror calls them: a member by its rule's name."""
    found, rule = [], ""
    for struct, function in re.findall(r"^struct (\w+)|^ *(?:static )?QL_HD [\w:<> ]+? (\w+)\(", text, flags=re.MULTILINE):
        rule = getattr(reference_rules, struct).name if struct else rule
        found += [f"{rule}_{function}" if function in MEMBERS else function] if function else []
    return found


@pytest.mark.parametrize("file", RULE_FILES)
def test_the_functions_of_a_header_of_rules_come_in_its_order(file: str) -> None:
    """average_square is what C++ writes out."""
    theirs = functions_of_rules(header(f"{file}.h"))
    assert [name for name in functions_of(f"{file}.py") if name != "average_square"] == theirs


@pytest.mark.parametrize("rule", KERNELS)
def test_a_rule_has_the_same_members_and_hypers(rule: str) -> None:
    """The functions without a rule's name know all that there are with it."""
    own = RULES[reference_rules.RULES[rule].__name__].split(SEPARATOR)[0]
    for member in MEMBERS:
        says = re.search(rf"^  static QL_HD [\w:& ]+ {member}\(", own, flags=re.MULTILINE) is not None
        calls = f" {rule}_{member}(" in source_of("rules.py", member)
        assert calls == says, member
    assert functions_of("rules.py")[-len(MEMBERS) :] == list(MEMBERS)
    assert f'"{rule}": {len(reference_rules.RULES[rule].hypers)}' in source_of("rules.py", "hypers_of")


@pytest.mark.parametrize("kernel", sorted(set(KERNELS.values())))
def test_a_kernel_has_the_same_scalars_states_and_site(kernel: str) -> None:
    rule = reference_rules.RULES[kernel]
    body = RULES[rule.__name__]
    scalars = block_after(body, body.index("struct Scalars"))
    owner = rule if "struct Scalars" in body.split(SEPARATOR)[0] else rule.__base__
    (fields,) = [
        fields_of(f"{file}.py", f"{owner.__name__}Scalars")
        for file in RULE_FILES
        if f"class {owner.__name__}Scalars" in read(f"triton_kernels/{file}.py")
    ]
    assert fields == field_names(scalars)
    kinds = [kind for kind, names in re.findall(r"^ *(\w+) ([\w, ]+);", scalars, flags=re.MULTILINE) for _ in names.split(",")]
    assert kinds == sorted(kinds, reverse=True) and set(kinds) <= {"float", "bool"}
    assert f'"{kernel}": {kinds.count("float")}' in source_of("rule_scalars.py", "rule_numbers")
    assert f'"{kernel}": {len(rule.states)}' in source_of("rules.py", "states_of")
    assert f'"{kernel}": {rule.second_moment}' in source_of("rules.py", "second_moment_of")
    assert f'"{kernel}": "{rule.site}"' in source_of("rules.py", "site_of")


def test_the_inverse_root_s_constants() -> None:
    text, mirror = header("root.h"), source_of("root.py", "inverse_root")
    assert re.findall(r"0x[0-9A-F]{8}", text) == re.findall(r"0x[0-9A-F]{8}", mirror)
    coefficients = re.findall(r"0x1\.[0-9a-f]+p-\d", text)
    assert len(coefficients) == 4
    assert coefficients == re.findall(r"0x1\.[0-9a-f]+p-\d", literal("root.py", "INVERSE_ROOT_COEFFICIENTS"))[::-1]
