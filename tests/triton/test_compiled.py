"""Kernels compile ahead of time, without spills, contraction or approximation, for sm_80, sm_90 and sm_100.

Those of take_specializations(); for sm_80 and sm_100, and of those that see a step, a part; QLANGEVIN_FULL=1 takes all.
"""

from __future__ import annotations

import re
from functools import cache

import pytest

pytest.importorskip("triton")

from qlangevin.reference_rules import RULES

from ..core.cases import FULL
from ..core.kernels import DTYPES
from ..machine.test_instructions import FORBIDDEN, code_of
from ..machine.tools import MissingToolError, find
from .compiled import (
    Binary,
    Compiled,
    compile_all,
    compile_fold,
    compile_prepare,
    compile_squares,
    list_specializations,
    take_specializations,
)

try:
    find("cuobjdump"), find("nvdisasm")
except MissingToolError as error:
    pytest.skip(str(error), allow_module_level=True)

ARCHITECTURES = (80, 90, 100)
CONTRACTED = re.compile(r"\b(?:FFMA|HFMA2\.(?!MMA)\S*|DFMA|MUFU)\b")
EXACT = {"abs", "neg", "ld", "st", "mov", "setp", "selp"}  # what PTX does to numbers without rounding
OPERATION = re.compile(r"^\s*(?:@\S+\s+)?(\w[\w.]*\.f(?:32|64))\s")
by_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@cache
def compiled(architecture: int) -> list[Compiled]:
    return compile_all(take_specializations()[:: 1 if FULL or architecture == 90 else 3], architecture)


@cache
def others(architecture: int) -> list[Binary]:
    """Those that see a step, square and fold."""
    every = 1 if FULL else 7 if architecture == 90 else 13
    found: list[Binary] = [compile_fold(architecture), *(compile_squares(grad, architecture) for grad in DTYPES.values())]
    for sees in ("observed", "ahead"):
        found += compile_all(list_specializations(sees)[::every], architecture)
    return found


def test_there_are_as_many_kernels_as_rules_and_storage_types() -> None:
    """9 pairs of parameters and gradients: alone, and with two types of states for eight kernels."""
    assert len(list_specializations()) == 9 + 8 * 18 == len({one.title for one in list_specializations()})


@by_architecture
def test_no_kernel_has_a_stack(architecture: int) -> None:
    for one in [*compiled(architecture), *others(architecture)]:
        resources = one.kernel.resources
        assert (resources.stack, resources.local) == (0, 0), one.title
        assert not any(re.search(r"\b(LDL|STL)\b", line) for line in one.kernel.lines), one.title


@by_architecture
def test_values_stay_in_their_threads(architecture: int) -> None:
    """No shared memory, no shuffles, no barriers, so that another layout is another name of a register; two programs of a chunk
    never talk. The largest of each of a row's two blocks of gradients is all that threads find together."""
    for one in compiled(architecture):
        assert one.shared == 0, one.title
        assert not any(re.search(r"\b(LDS|STS|SHFL|BAR)\b", line) for line in one.kernel.lines), one.title
        assert sum(bool(re.search(r"\bC?REDUX\b", line)) for line in one.kernel.lines) == 2, one.title


@by_architecture
def test_sums_need_no_shared_memory(architecture: int) -> None:
    """Columns meet by shuffles."""
    for one in others(architecture):
        assert one.shared == 0, one.title
        assert not any(re.search(r"\b(LDS|STS|BAR)\b", line) for line in one.kernel.lines), one.title


@by_architecture
def test_a_look_ahead_stores_its_statistics_alone(architecture: int) -> None:
    for one in others(architecture):
        if one.title.endswith("ahead"):
            stores = [line for line in one.kernel.lines if re.search(r"\bSTG?\b", line)]
            assert len(stores) == 10 and all("STG.E.64 " in line for line in stores), one.title


@by_architecture
def test_nothing_is_contracted_approximated_or_flushed(architecture: int) -> None:
    for one in [*compiled(architecture), *others(architecture)]:
        lines = [code_of(line) for line in one.ptx.splitlines()]
        found = {match.group() for line in lines for match in FORBIDDEN.finditer(line)}
        assert not found, (one.title, sorted(found))
        assert any(re.search(r"\b(mul|add)(\.rn)?\.f(32|64)(x2)?\b", line) for line in lines)
        machine = {match.group() for line in one.kernel.lines for match in CONTRACTED.finditer(line)}
        assert not machine, (one.title, sorted(machine))


@by_architecture
def test_aligned_rows_are_moved_as_quads(architecture: int) -> None:
    """As many loads and stores of 16 bytes as the storage types ask for."""
    for one in compiled(architecture):
        what = one.specialization
        text = "\n".join(one.kernel.lines)
        quads = [dtype.itemsize // 2 for dtype in (what.param, what.grad, *[what.state] * what.states)]
        loads, stores = len(re.findall(r"LDG\.E(?:\.\w+)*\.128", text)), len(re.findall(r"STG\.E(?:\.\w+)*\.128", text))
        assert loads == sum(quads) and stores == sum(quads) - quads[1], (what.title, loads, stores)


@by_architecture
@pytest.mark.parametrize("rule", RULES)
def test_scalars_are_made_in_binary64_and_rounded_as_ieee_754_has_it(rule: str, architecture: int) -> None:
    """Read off the PTX: a correctly rounded division or square root is itself made of machine instructions that contract."""
    built = compile_prepare(rule, architecture)
    lines = [code_of(line) for line in built.ptx.splitlines()]
    assert not {match.group() for line in lines for match in FORBIDDEN.finditer(line)}
    operations = {match[1] for line in lines if (match := OPERATION.search(line))}
    rounding = {one for one in operations if one.split(".")[0] not in EXACT} - {"cvt.f64.f32", "cvt.rzi.s64.f64"}  # of integers
    wanted = {"add.rn.f64", "mul.rn.f64", "div.rn.f64", "sqrt.rn.f64", "cvt.rn.f32.f64"}
    assert wanted <= rounding <= wanted | {"sub.rn.f64", "mul.f32", "mul.rn.f32"}  # in binary32 by -1


@by_architecture
@pytest.mark.parametrize("rule", RULES)
def test_a_lane_makes_its_tensor_s_scalars_alone_and_in_registers(rule: str, architecture: int) -> None:
    built = compile_prepare(rule, architecture)
    assert built.shared == 0 and "ttg.convert_layout" not in built.layouts
    assert (built.kernel.resources.stack, built.kernel.resources.local) == (0, 0)
    assert not any(re.search(r"\b(LDL|STL|LDS|STS|SHFL|BAR)\b", line) for line in built.kernel.lines)
    assert ".maxntid 32" in built.ptx or ".reqntid 32" in built.ptx
