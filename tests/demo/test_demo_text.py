"""Loading text: what is read, and that nothing else passes for text."""

from __future__ import annotations

import gzip
import sysconfig
from pathlib import Path

import pytest

from qlangevin.demo import text
from qlangevin.demo.data import DataError
from qlangevin.demo.text import LEAST_BYTES, STANDARD_LIBRARY, load_text

LINE = "a line of text, mit Umläuten\n".encode()
STORY = LINE * (LEAST_BYTES // len(LINE) + 1)


@pytest.mark.parametrize("name", ["story.txt", "story.txt.gz"])
def test_a_text_is_split_into_its_first_nine_tenths_and_the_rest(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(STORY) if name.endswith(".gz") else STORY)
    data = load_text(path)
    assert data.name == name and data.train.numpy().tobytes() + data.validation.numpy().tobytes() == STORY
    assert len(data.train) == len(STORY) * 9 // 10


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is empty"),
        (STORY[: LEAST_BYTES - 1].rstrip(b"\xc3"), f"holds {LEAST_BYTES - 1} bytes; at least {LEAST_BYTES} are needed"),
        (STORY + b"\xff\xfe", f"is not UTF-8 text: invalid start byte at byte {len(STORY)}"),
        (STORY + b"\xc3", "is not UTF-8 text: unexpected end of data"),
        (STORY.decode().encode("utf-16"), "is not UTF-8 text"),
        (STORY + b"\0", f"is not text: byte {len(STORY)} is NUL"),
        (bytes(LEAST_BYTES), "is not text: byte 0 is NUL"),
        (b"\x7fELF\x02\x01\x01" + bytes(90), "is not text: byte 7 is NUL"),
    ],
)
def test_what_is_no_text_is_a_named_error(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "story.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"^--text {path} {cause}"):
        load_text(path)


def test_what_cannot_be_read_is_a_named_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.txt", tmp_path / "absent.txt.gz"):
        with pytest.raises(DataError, match=f"cannot read {path}"):
            load_text(path)


def test_a_long_text_may_end_inside_a_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = STORY.index("ä".encode(), LEAST_BYTES - 2 * len(LINE)) + 1
    monkeypatch.setattr(text, "MOST_BYTES", most)
    monkeypatch.setattr(text, "LEAST_BYTES", 100)
    path = tmp_path / "story.txt"
    path.write_bytes(STORY)
    data = load_text(path)
    assert len(data.train) + len(data.validation) == most


def test_without_a_file_it_is_the_standard_library_in_a_fixed_order() -> None:
    first, again = load_text(None), load_text(None)
    assert first.name == STANDARD_LIBRARY and first.digest() == again.digest()
    content = first.train.numpy().tobytes() + first.validation.numpy().tobytes()
    source = (Path(sysconfig.get_path("stdlib")) / "argparse.py").read_bytes()
    assert source in content and len(content) > 1_000_000


def test_the_order_is_not_the_file_system_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        (tmp_path / f"{number}.py").write_text(f"{number}" * LEAST_BYTES)
    monkeypatch.setattr(text.sysconfig, "get_path", lambda _: str(tmp_path))
    digests, listed = set(), sorted(tmp_path.glob("*.py"))
    for found in (listed, listed[::-1]):
        monkeypatch.setattr(Path, "glob", lambda *_, found=found: iter(found))
        digests.add(load_text(None).digest())
    assert len(digests) == 1


def test_a_machine_without_sources_is_told_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(DataError, match=r"no sources of the standard library: give a text with --text FILE"):
        load_text(None)
