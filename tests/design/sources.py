"""The project's source files, as the design tests read them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("qlangevin", "csrc", "cmake", "triton_kernels", "tests", "benchmarks", "docs", "requirements", ".github")
TOP_FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "setup.py", "CMakeLists.txt")
CODE = (".py", ".h", ".cpp", ".cu", ".in", ".cmake")
TEXT = (*CODE, ".md", ".toml", ".txt", ".yml", ".yaml", ".json", "")


def list_files(suffixes: tuple[str, ...], folders: tuple[str, ...] = FOLDERS) -> list[Path]:
    """The files with these suffixes, build products apart."""
    found = [ROOT / name for name in TOP_FILES if folders == FOLDERS]
    for folder in folders:
        found += sorted(path for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts)
    return [path for path in found if path.is_file() and path.suffix in suffixes]


def name_of(path: Path) -> str:
    """A file's path inside the project."""
    return path.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    """A file's text."""
    return (ROOT / name).read_text()


def parse(path: Path) -> ast.Module:
    """A Python file's tree."""
    return ast.parse(path.read_text(), str(path))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a tree."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def docstring_lines(tree: ast.AST) -> set[int]:
    """The lines that docstrings take."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            docstring = node.body[0]
            lines.update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return lines


def count_code_lines(path: Path) -> int:
    """Lines that are neither blank, comment nor docstring."""
    skipped = docstring_lines(parse(path))
    lines = enumerate(path.read_text().splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and number not in skipped for number, line in lines)


def without_comments(text: str) -> str:
    """C++ text without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def block_after(text: str, start: int) -> str:
    """The text between the first brace at or after `start` and its partner."""
    opened = text.index("{", start)
    depth = 0
    for at in range(opened, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[opened + 1 : at]
    raise ValueError("a brace without a partner")
