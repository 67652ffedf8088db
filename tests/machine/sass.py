"""The text that nvdisasm prints of a kernel, as instructions. What it does not know is an error that names it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MASK = 0xFFFFFFFF
ZERO_REGISTER = {"R": 255, "UR": 63, "P": 7, "UP": 7}  # RZ, URZ and the predicates that are always true
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P[0-9T]) )?([A-Z0-9_.]+)\s*(.*?)\s*;")
REGISTER = re.compile(r"^([-~!]?)(\|?)(UR|R|UP|P)(\d+|Z|T)(\|?)((?:\.[A-Z0-9_]+)*)$")
CONSTANT = re.compile(r"^(-?)c\[0x([02])\]\[(?:(UR|R)(\d+)\+?)?(-?0x[0-9a-f]+)?\]$")
MEMORY = re.compile(r"^(?:desc\[UR\d+\])?\[R(\d+|Z)\.64(?:\+(-?0x[0-9a-f]+))?\]$")
NUMBER = re.compile(r"^-?0x[0-9a-f]+$")
WORDS = {
    "table": re.compile(r'^R(\d+) (-0x[0-9a-f]+)\s+\(\*"BRANCH_TARGETS .*"\*\)$'),
    "label": re.compile(r"^`\((.*)\)$"),
    "float": re.compile(r"^(-?\d+(?:\.\d*)?(?:e[-+]?\d+)?)$"),
    "name": re.compile(r"^(SRZ|SR_[A-Z_.]+|B\d+|U?PR)$"),
}


class UnknownInstructionError(Exception):
    """An opcode, a modifier or an operand whose meaning is not written down here."""


@dataclass(frozen=True)
class Operand:
    """kind: R, UR, P, UP (register files), number, float, constant, memory, label, name.

    index is the register's; of a constant that of the register added to its offset (URZ: none), whose file is the text. value: a
    number, an offset.
    """

    kind: str
    index: int = 0
    value: int = 0
    text: str = ""
    sign: str = ""  # "-" negated, "~" complemented, "!" of predicates
    absolute: bool = False
    bank: int = 0  # of a constant: 0 holds the kernel's parameters, 2 the tables of its branches


@dataclass(frozen=True)
class Instruction:
    """One line. guard: the predicate it is executed under; target: where its label stands."""

    address: int
    guard: Operand | None
    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    text: str
    target: int = -1

    def complain(self, about: str) -> UnknownInstructionError:
        """The error that something about it is unknown."""
        return UnknownInstructionError(f"{about} in '{self.text}' at {self.address:#x}")


def float_bits(text: str) -> int:
    """The pattern of a printed binary32 number. It has to be printed exactly."""
    value = float(text)
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    if struct.unpack("<f", struct.pack("<I", bits))[0] != value:
        raise UnknownInstructionError(f"the number {text} is not printed exactly")
    return int(bits)


def parse_register(found: re.Match[str]) -> Operand:
    sign, bar, file, index, _, suffix = found.groups()
    number = ZERO_REGISTER[file] if index in {"Z", "T"} else int(index)
    return Operand(file, number, text=suffix.replace(".reuse", ""), sign=sign, absolute=bool(bar))


def parse_operand(text: str) -> Operand:
    text = text.replace(".reuse", "").strip()
    if found := REGISTER.match(text):
        return parse_register(found)
    if found := NUMBER.match(text):
        return Operand("number", value=int(text, 16) & MASK)
    for kind, pattern in WORDS.items():
        if (found := pattern.match(text)) and kind == "table":
            return Operand(kind, int(found.group(1)), int(found.group(2), 16) & MASK)
        if found:
            return Operand(kind, text=found.group(1))
    if found := CONSTANT.match(text):
        sign, bank, file, index, offset = found.groups()
        number = int(index) if file else ZERO_REGISTER["UR"]
        return Operand("constant", number, int(offset or "0", 16) & MASK, file or "UR", sign, bank=int(bank))
    if found := MEMORY.match(text):
        index, offset = found.groups()
        return Operand("memory", ZERO_REGISTER["R"] if index == "Z" else int(index), int(offset or "0", 16))
    raise UnknownInstructionError(f"unknown operand '{text}'")


@dataclass
class Code:
    """The instructions of one kernel, in order."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # the index of the instruction behind each
    tables: bytes = b""  # constant bank 2

    def resolve(self) -> Code:
        """Itself, with the targets of branches."""
        for i, one in enumerate(self.instructions):
            for operand in one.operands:
                if operand.kind == "label":
                    target = self.labels[operand.text]
                    kept = (one.address, one.guard, one.opcode, one.modifiers, one.operands, one.text)
                    self.instructions[i] = Instruction(*kept, target=target)
        return self


def parse_instruction(found: re.Match[str]) -> Instruction:
    address, guard, name, rest = found.groups()
    opcode, *modifiers = name.split(".")
    text = f"{'@' + guard + ' ' if guard else ''}{name} {rest}".strip()
    try:
        operands = tuple(parse_operand(part) for part in rest.split(", ")) if rest else ()
        condition = parse_operand(guard) if guard else None
    except UnknownInstructionError as error:
        raise UnknownInstructionError(f"{error} in '{text}' at 0x{address}") from None
    return Instruction(int(address, 16), condition, opcode, tuple(modifiers), operands, text)


def split_sections(text: str) -> Iterator[tuple[str, list[str], bytes]]:
    """The mangled name, the lines and the tables of each kernel in nvdisasm's output."""
    parts = re.split(r"^\s*\.section\s+([^\s,]+).*$", text, flags=re.MULTILINE)
    bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
    for section, body in bodies.items():
        if section.startswith(".text."):
            name = section.removeprefix(".text.")
            tables = re.findall(r"\b0x([0-9a-f]{2})\b", bodies.get(f".nv.constant2.{name}", ""))
            yield name, body.splitlines(), bytes.fromhex("".join(tables))


def parse_section(name: str, lines: list[str], tables: bytes = b"") -> Code:
    """The kernel of one section of code."""
    code = Code(name, tables=tables)
    for line in lines:
        if found := INSTRUCTION.match(line):
            code.instructions.append(parse_instruction(found))
        elif line.startswith(".L_"):
            code.labels[line.rstrip(":\n ")] = len(code.instructions)
        elif "/*" in line and re.match(r"^\s+/\*[0-9a-f]{4}\*/", line):
            raise UnknownInstructionError(f"unknown line '{line.strip()}'")
    return code.resolve()
