"""What every data set of the demo shares: its error, reading a file, a fingerprint."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor


class DataError(ValueError):
    """A data file or folder that is missing, truncated, corrupt or not what its name says."""


def read_bytes(path: Path, most: int = -1) -> bytes:
    """Return what a file holds, a .gz file decompressed; at most `most` bytes of it, where that is not -1.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read(most)
    except EOFError as error:
        raise DataError(f"{path} is truncated: {error}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a sound gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}") from error


def digest_tensors(tensors: Iterable[Tensor]) -> str:
    """Return a fingerprint of shapes and contents: a checkpoint knows its own data by it."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(repr(tuple(tensor.shape)).encode())
        state.update(tensor.numpy().tobytes())
    return state.hexdigest()[:16]
