"""The interpreter by hand: single instructions whose results follow from their definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .memory import AccessError, Memory
from .opcodes_integer import COMMON_TABLES, sum_of_products
from .pipes import PIPES
from .sass import Code, UnknownInstructionError, parse_section
from .warp import Program, Warp

MEMORY = 1 << 40


def assemble(*lines: str) -> Code:
    """The code of some instructions and an exit."""
    text = [
        line if line.startswith(".L_") else f"        /*{16 * k:04x}*/                   {line} ;" for k, line in enumerate(lines)
    ]
    return parse_section("test", [*text, f"        /*{16 * len(lines):04x}*/                   EXIT ;"])


def run(*lines: str, memory: Any = None, **registers: int) -> Warp:
    """The warp after some instructions; registers: R0=..., UR4=... beforehand."""
    warp = Warp(Program(assemble(*lines)), memory or Memory(), bytes(range(256)), 3)
    for name, value in registers.items():
        (warp.ur if name.startswith("U") else warp.r)[int(name.lstrip("UR"))] = value
    return warp.run()


def result(line: str, **registers: int) -> int:
    """R9 of the first lane after one instruction."""
    return int(run(line, **registers).r[9, 0])


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


@pytest.mark.parametrize(
    ("line", "registers", "wanted"),
    [
        ("IADD3 R9, R1, -R2, 0x5", {"R1": 7, "R2": 9}, 3),
        ("VIADD R9, R1, 0xffffffff", {"R1": 0}, 0xFFFFFFFF),
        ("IMAD R9, R1, -0x2, R2", {"R1": 3, "R2": 5}, 0xFFFFFFFF),
        ("IMAD.MOV.U32 R9, RZ, RZ, -R2", {"R2": 5}, 0xFFFFFFFB),
        ("IMAD.HI.U32 R9, R1, -0x2, RZ", {"R1": 3}, 2),
        ("IMAD.HI.U32 R9, R1, 0x10000, R2", {"R1": 0x1234FFFF, "R2": 0x10000, "R3": 5}, 0x1234 + 5 + 1),
        ("IMAD.HI R9, R1, 0x2, RZ", {"R1": 0x80000000}, 0xFFFFFFFF),
        ("IMAD.HI R9, R1, 0x2, RZ", {"R1": 0x7FFFFFFF}, 0),
        ("IMAD.HI R9, R1, -0x3, R2", {"R1": 0x80000000, "R2": 0x80000000, "R3": 4}, 1 + 4 + 1),
        ("SGXT.U32 R9, R1, 0x3", {"R1": 0xFFFFFFFD}, 5),
        ("HFMA2.MMA R9, -RZ, RZ, -0.0 , 0", {}, 0x80000000),
        ("LEA R9, R1, UR4, 0x3", {"R1": 5, "UR4": 2}, 42),
        ("LEA.HI R9, R1, 0x7fff, RZ, 0x10", {"R1": 0xABCD1234}, 0x7FFF + 0xABCD),
        ("LEA.HI.X.SX32 R9, R1, R2, 0x1, !PT", {"R1": 0x80000000, "R2": 1}, 0),
        ("SHF.L.U32 R9, R1, 0x4, RZ", {"R1": 0xF0000001}, 0x10),
        ("SHF.R.U32.HI R9, RZ, 0x4, R1", {"R1": 0xF0000001}, 0x0F000000),
        ("SHF.R.S32.HI R9, RZ, 0x1f, R1", {"R1": 0xF0000001}, 0xFFFFFFFF),
        ("SHF.R.S64 R9, R1, 0x8, R2", {"R1": 0x100, "R2": 0xAB}, 0xAB000001),
        ("SHF.R.W.U32 R9, R1, R3, R2", {"R1": 0xAAAA1111, "R2": 0xBBBB2222, "R3": 48}, 0x2222AAAA),
        ("SHF.L.U64.HI R9, R1, 0x4, R2", {"R1": 0xF0000000, "R2": 1}, 0x1F),
        ("LOP3.LUT R9, R1, 0xff, R2, 0x6a, !PT", {"R1": 0x1F3, "R2": 0x700}, (0x1F3 & 0xFF) ^ 0x700),
        ("PRMT R9, R1, 0x7632, R2", {"R1": 0x11112222, "R2": 0x33334444}, 0x33331111),
        ("PRMT R9, R1, 0x9910, RZ", {"R1": 0x8234}, 0xFFFF8234),
        ("IDP.4A.U8.U8 R9, R1, R2, R3", {"R1": 0x01020304, "R2": 0xFF000001, "R3": 10}, 255 + 4 + 10),
        ("HFMA2.MMA R9, -RZ, RZ, 14, 0", {}, 0x4B000000),
        ("FADD R9, R1, -R2", {"R1": bits(1.5), "R2": bits(0.25)}, bits(1.25)),
        ("FADD R9, -RZ, -RZ", {}, 0x80000000),
        ("FMUL R9, R1, 0.5", {"R1": 3}, 2),  # subnormals are kept, and rounded to even
        ("FADD R9, R1, -INF", {"R1": bits(float("inf"))}, 0x7FFFFFFF),
        ("FSET.BF.GT.AND R9, |R1|, 2, PT", {"R1": bits(-3)}, bits(1)),
        ("LDC R9, c[0x0][0x10]", {}, 0x13121110),
        ("ULDC.U8 UR9, c[0x0][UR4+0x1]", {"UR4": 4, "R9": 1}, 1),
        ("VIMNMX.U32 R9, R1, R2, PT", {"R1": 0xFFFFFFFF, "R2": 3}, 3),
        ("VIMNMX3.U32 R9, R1, R2, R3, !PT", {"R1": 3, "R2": 0xFFFFFFFF, "R3": 7}, 0xFFFFFFFF),
        ("VIMNMX3 R9, R1, R2, R3, PT", {"R1": 3, "R2": 0xFFFFFFFF, "R3": 7}, 0xFFFFFFFF),
        ("VIADDMNMX R9, R1, R2, 0x800000, !PT", {"R1": 0x900000, "R2": 0xFFFFFFFF}, 0x8FFFFF),
        ("VIADDMNMX R9, R1, -R2, 0x800000, !PT", {"R1": 0x900000, "R2": 0x900000}, 0x800000),
        ("VIADDMNMX R9, R1, R2, 0x800000, PT", {"R1": 1, "R2": 0xFFFFFFFE}, 0xFFFFFFFF),
        ("SHFL.UP PT, R9, R1, 0x1, RZ", {"R1": 6}, 6),
    ],
)
def test_an_instruction(line: str, registers: dict[str, int], wanted: int) -> None:
    if "INF" in line:
        line, registers = line.replace("-INF", "R2"), registers | {"R2": bits(float("-inf"))}
    assert result(line, **registers) == wanted


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (5, 3), (1 << 32, 1), (1 << 63, (1 << 63) - 1), ((1 << 64) - 1, 1 << 32)])
def test_64_bits_are_added_and_compared_in_two_words(a: int, b: int) -> None:
    words = {"R2": a & 0xFFFFFFFF, "R3": a >> 32, "R4": b & 0xFFFFFFFF, "R5": b >> 32}
    add = ("IADD3 R9, P0, R2, R4, RZ", "IADD3.X R10, R3, R5, RZ, P0, !PT")
    subtract = ("IADD3 R9, P0, R2, -R4, RZ", "IADD3.X R10, R3, ~R5, RZ, P0, !PT")
    for lines, wanted in ((add, a + b), (subtract, a - b)):
        warp = run(*lines, **words)
        assert int(warp.r[9, 7]) | int(warp.r[10, 7]) << 32 == wanted % (1 << 64)
    warp = run("ISETP.GT.U32.AND P0, PT, R2, R4, PT", "ISETP.GT.U32.AND.EX P0, PT, R3, R5, PT, P0", **words)
    assert bool(warp.p[0].all()) == (a > b) and bool(warp.p[0].any()) == (a > b)


@pytest.mark.parametrize("table", COMMON_TABLES)
def test_the_common_tables_of_logic(table: int) -> None:
    a, b, c = np.random.default_rng(table).integers(0, 1 << 32, (3, 100), np.uint32)
    assert (COMMON_TABLES[table](a, b, c) == sum_of_products(table, a, b, c)).all()


def test_predicates_are_kept_in_a_register() -> None:
    set_two = ("ISETP.EQ.AND P0, PT, RZ, RZ, PT", "ISETP.NE.AND P1, PT, RZ, RZ, PT", "ISETP.EQ.AND P2, PT, RZ, RZ, PT")
    warp = run(*set_two, "P2R R9, PR, R1, 0x3", "R2P PR, R9, 0x4", R1=0xF2)
    assert int(warp.r[9, 0]) == 0xF1
    assert warp.p[:3, 0].tolist() == [True, False, False]


def test_uniform_predicates_are_kept_in_a_uniform_register() -> None:
    set_two = ("UISETP.EQ.AND UP0, UPT, URZ, URZ, UPT", "UISETP.NE.AND UP1, UPT, URZ, URZ, UPT")
    warp = run(*set_two, "UMOV UR1, 0xf0", "UP2UR UR9, UPR, UR1, 0x1", "UP2UR UR8, UPR, UR1, 0x2")
    assert [int(warp.ur[k, 0]) for k in (9, 8)] == [0xF1, 0xF0]


def test_lanes_are_reduced() -> None:
    warp = run("S2R R1, SR_TID.X", "IADD3 R2, R1, -0x3, RZ", "REDUX.SUM.S32 UR8, R2", "REDUX.MAX UR9, R2", "REDUX.MAX UR7, R1")
    assert [int(warp.ur[k, 0]) for k in (8, 9, 7)] == [sum(range(32)) - 96, 0xFFFFFFFF, 31]


def test_lanes_part_and_meet_again() -> None:
    code = (
        "S2R R1, SR_TID.X",
        "BSSY B0, `(.L_x_1)",
        "ISETP.GT.AND P0, PT, R1, 0x7, PT",
        "IMAD.MOV.U32 R9, RZ, RZ, 0x1",
        "@P0 BRA `(.L_x_0)",
        "IMAD.MOV.U32 R9, RZ, RZ, 0x2",
        ".L_x_0:",
        "BSYNC B0",
        ".L_x_1:",
        "SHFL.UP PT, R10, R9, 0x8, RZ",
        "SHFL.DOWN P1, R11, R9, 0x8, 0x1f",
    )
    lines = [line if line.startswith(".L") else f"        /*{16 * k:04x}*/   {line} ;" for k, line in enumerate(code)]
    warp = Warp(Program(parse_section("test", [*lines, "        /*0200*/   EXIT ;"])), Memory(), bytes(16), 0).run()
    assert warp.r[9].tolist() == [2] * 8 + [1] * 24
    assert warp.r[10].tolist() == [2] * 16 + [1] * 16
    assert warp.r[11].tolist() == [1] * 32 and warp.p[1].tolist() == [True] * 24 + [False] * 8


@pytest.mark.parametrize(
    "line",
    [
        "FFMA R9, R1, R2, R3",
        "FADD.FTZ R9, R1, R2",
        "FADD R9, R1, R2.H0",
        "IADD3.Q R1, R2, R3, R4",
        "MUFU.RCP R1, R2",
        "MOV R1, SR_X",
    ],
)
def test_what_is_not_known_is_an_error(line: str) -> None:
    with pytest.raises(UnknownInstructionError):
        result(line)


def test_accesses_that_a_gpu_would_not_survive() -> None:
    memory = Memory()
    region = memory.add("input", bytes(64))
    words = {"R2": region.base & 0xFFFFFFFF, "R3": region.base >> 32}
    run("LDG.E.128 R8, desc[UR4][R2.64+0x30]", memory=memory, **words)
    for line in ("LDG.E.128 R8, desc[UR4][R2.64+0x38]", "LDG.E R8, desc[UR4][R2.64+0x40]", "STG.E desc[UR4][R2.64], R8"):
        with pytest.raises(AccessError):
            run(line, memory=memory, **words)


def test_every_opcode_has_one_pipe() -> None:
    opcodes = [opcode for opcodes in PIPES.values() for opcode in opcodes]
    assert len(opcodes) == len(set(opcodes))
