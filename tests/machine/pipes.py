"""Which part of a multiprocessor executes each opcode, and what the memory's bandwidth leaves room for.

Every instruction takes one of the 4 issue slots of a cycle, each for 32 lanes: 128 lanes a cycle. Sources: the arithmetic
throughput table of the CUDA C++ Programming Guide for compute capability 9.0 (results per cycle and multiprocessor: binary32
sums and products 128, integer sums, comparisons, shifts, logic and integer multiplications 64, conversions and special
functions 16) and the description of the pipelines in the Nsight Compute documentation: ALU executes all integer and logic
instructions but IMAD, and the comparisons and selections of floats; FMA (its heavy half alone) executes IMAD and IDP.
"""

from __future__ import annotations

from .sass import Instruction

MULTIPROCESSORS = 132  # of an H100 SXM or H200
LANES, INTEGER_LANES = 128, 64  # a cycle and multiprocessor
GIGAHERTZ = 1.755
TERABYTES = 4.3  # a second; what is reached of an H200's 4.8
TOTAL_PER_BYTE = MULTIPROCESSORS * LANES * GIGAHERTZ / TERABYTES / 1000  # 6.9 instructions
INTEGER_PER_BYTE = MULTIPROCESSORS * INTEGER_LANES * GIGAHERTZ / TERABYTES / 1000  # 3.45

PIPES: dict[str, tuple[str, ...]] = {
    # 64 lanes a cycle. MOV and CS2R are counted here although some can go elsewhere.
    "integer": (
        *("LOP3", "IADD3", "IADD", "VIADD", "SHF", "PRMT", "ISETP", "FSETP", "SEL", "FSEL", "FSET", "LEA", "FMNMX"),
        *("VIMNMX", "VIMNMX3", "VIADDMNMX"),
        *("IMNMX", "PLOP3", "R2P", "P2R", "MOV", "CS2R", "VOTE", "IABS", "BMSK", "SGXT", "FCHK"),
    ),
    # 64 lanes a cycle: the half of the FMA pipe that multiplies integers; half of what FP32 has.
    "multiply": ("IMAD", "IDP"),
    # 128 lanes a cycle.
    "float": ("FADD", "FMUL", "FFMA", "HFMA2", "HADD2", "HMUL2"),
    # Once for a warp instead of once for each lane, beside the others; the issue slot is taken all the same.
    "uniform": (
        *(
            "UIADD3",
            "ULOP3",
            "USHF",
            "ULEA",
            "UISETP",
            "UFSETP",
            "USEL",
            "UMOV",
            "UIMAD",
            "UPLOP3",
            "UP2UR",
            "ULDC",
            "LDCU",
            "UPRMT",
        ),
        *("R2UR", "VOTEU", "S2UR", "UIMNMX", "UFLO", "UPOPC", "USGXT", "UBMSK"),
    ),
    # 16 lanes a cycle: square roots, reciprocals, conversions; binary64 (64 lanes) is counted here too.
    "special": ("MUFU", "F2F", "F2I", "I2F", "F2FP", "FRND", "S2R", "FLO", "POPC", "DADD", "DMUL", "DFMA", "DSETP"),
    "memory": ("LDG", "STG", "LD", "ST", "LDC", "SHFL", "LDL", "STL", "LDS", "STS"),
    "control": (
        "BRA",
        "EXIT",
        "BSSY",
        "BSYNC",
        "WARPSYNC",
        "ENDCOLLECTIVE",
        "NOP",
        "CALL",
        "RET",
        "BREAK",
        "BMOV",
        "YIELD",
        "BRX",
    ),
}
PIPE_OF = {opcode: pipe for pipe, opcodes in PIPES.items() for opcode in opcodes}


def resident_warps(registers: int) -> int:
    """How many warps, of one to a block, a multiprocessor holds at once: 65536 registers, given out by 8 a lane; 32 blocks."""
    return min(32, 65536 // (-(-registers // 8) * 8 * 32))


def pipe_of(one: Instruction) -> str:
    """The pipe of an instruction."""
    if one.opcode not in PIPE_OF:
        raise one.complain(f"no pipe is known for {one.opcode}")
    return PIPE_OF[one.opcode]
