"""Loaders of images: what they read, and that no damaged file passes."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import pytest
import torch

from qlangevin.demo import images
from qlangevin.demo.data import DataError
from qlangevin.demo.images import (
    CIFAR10,
    DIGITS,
    FASHION_MNIST,
    load_digits,
    load_images,
    read_cifar,
    read_idx,
)

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def encode_idx(shape: tuple[int, ...], content: bytes, code: int = 8) -> bytes:
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


def count_up(size: int) -> bytes:
    return bytes(at % 251 for at in range(size))


def write_fashion(folder: Path, compress: bool = False, train: int = 6, test: int = 4) -> None:
    for name, number in zip(NAMES, (train, train, test, test), strict=True):
        is_image = "idx3" in name
        shape = (number, 28, 28) if is_image else (number,)
        raw = encode_idx(shape, count_up(number * 784) if is_image else bytes(at % 10 for at in range(number)))
        (folder / (name + ".gz" if compress else name)).write_bytes(gzip.compress(raw) if compress else raw)


def encode_cifar(labels: list[int]) -> bytes:
    planes = b"".join(bytes([value]) * 1024 for value in (10, 20, 30))
    return b"".join(bytes([label]) + planes for label in labels)


@pytest.mark.parametrize("compress", [False, True])
def test_fashion_mnist_is_read_from_plain_and_gz_files(tmp_path: Path, compress: bool) -> None:
    write_fashion(tmp_path, compress)
    data = load_images(tmp_path)
    assert data.name == FASHION_MNIST
    assert data.train_images.shape == (6, 1, 28, 28) and data.train_images.dtype == torch.uint8
    assert data.test_images.shape == (4, 1, 28, 28)
    assert data.train_labels.tolist() == [0, 1, 2, 3, 4, 5] and data.train_labels.dtype == torch.int64
    # Pixel (image 1, row 2, column 3) is byte 784 + 2 * 28 + 3 of the data.
    assert int(data.train_images[1, 0, 2, 3]) == (784 + 59) % 251


def test_debians_folder_is_found_without_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion(tmp_path, compress=True)
    monkeypatch.setattr(images, "DEBIAN_FOLDER", tmp_path)
    assert load_images(None).name == FASHION_MNIST


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "not an IDX file"),
        (b"\x00\x00\x08", "not an IDX file"),
        (encode_idx((2, 2), bytes(4), code=9), "not an IDX file"),
        (b"\x89PNG" + bytes(40), "not an IDX file"),
        (b"\x00\x00\x08\x00", "truncated inside its IDX header"),
        (encode_idx((2, 2), b"")[:-1], "truncated inside its IDX header"),
        (encode_idx((2, 2), bytes(3)), r"holds 3 bytes of data; its header \[2, 2\] promises 4"),
        (encode_idx((2, 2), bytes(5)), "holds 5 bytes of data"),
        (encode_idx((2**32 - 1,) * 4, bytes(8)), "holds 8 bytes of data"),
        (encode_idx((0, 28, 28), b""), "is empty"),
    ],
)
def test_damaged_idx_file_is_a_named_error(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "some-idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=cause) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_damaged_gzip_file_is_a_named_error(tmp_path: Path) -> None:
    sound = gzip.compress(encode_idx((40, 40), count_up(1600)))
    path = tmp_path / "some-idx.gz"
    flipped = bytearray(sound)
    flipped[-6] ^= 1  # inside the CRC
    for content in (sound[: len(sound) // 2], sound[:-2], b"not gzip at all", bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"some-idx\.gz"):
            read_idx(path)
    path.write_bytes(sound)
    assert read_idx(path).shape == (40, 40)


def test_fashion_mnist_files_must_fit_together(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    labels = tmp_path / NAMES[1]
    labels.write_bytes(encode_idx((5,), bytes(5)))
    with pytest.raises(DataError, match=r"holds 6 images, .* 5 labels"):
        load_images(tmp_path)
    labels.write_bytes(encode_idx((6,), bytes([0, 1, 2, 3, 4, 10])))
    with pytest.raises(DataError, match="label 10 is not below 10"):
        load_images(tmp_path)
    labels.write_bytes(encode_idx((6, 1, 1), bytes(6)))
    with pytest.raises(DataError, match="has rank 3, not 1"):
        load_images(tmp_path)
    labels.unlink()
    with pytest.raises(DataError, match=f"has no {NAMES[1]} and no"):
        load_images(tmp_path)
    write_fashion(tmp_path)
    (tmp_path / NAMES[2]).write_bytes(encode_idx((4, 8, 8), bytes(256)))
    with pytest.raises(DataError, match="differ in size"):
        load_images(tmp_path)


def test_cifar10_is_read_record_by_record(tmp_path: Path) -> None:
    (tmp_path / "data_batch_2.bin").write_bytes(encode_cifar([9]))
    (tmp_path / "data_batch_1.bin").write_bytes(encode_cifar([3, 1]))
    (tmp_path / "test_batch.bin").write_bytes(encode_cifar([7]))
    data = load_images(tmp_path)
    assert data.name == CIFAR10
    assert data.train_labels.tolist() == [3, 1, 9] and data.test_labels.tolist() == [7]
    assert data.train_images.shape == (3, 3, 32, 32)
    assert data.train_images[2, :, 31, 31].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "holds 0 bytes"),
        (encode_cifar([1, 2])[:-1], "not a number of 3073-byte records"),
        (encode_cifar([1, 12]), "label 12"),
    ],
)
def test_damaged_cifar_file_is_a_named_error(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=cause) as caught:
        read_cifar(path)
    assert str(path) in str(caught.value)


def test_half_of_cifar10_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(encode_cifar([1]))
    with pytest.raises(DataError, match="no data_batch"):
        load_images(tmp_path)
    (tmp_path / "test_batch.bin").rename(tmp_path / "data_batch_1.bin")
    with pytest.raises(DataError, match=r"test_batch\.bin"):
        load_images(tmp_path)


def test_a_folder_that_was_named_is_never_replaced_by_digits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds neither"):
        load_images(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        load_images(tmp_path / "absent")


def test_digits_are_the_fallback() -> None:
    data = load_images(None)
    assert data.name == DIGITS
    assert data.train_images.shape == (1500, 1, 8, 8) and data.test_images.shape == (297, 1, 8, 8)
    assert sorted(data.test_labels.unique().tolist()) == list(range(10))
    assert int(data.train_images.max()) == 240
    assert load_digits().digest() == data.digest()


def test_missing_scikit_learn_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"pip install 'qlangevin\[demo\]'"):
        load_images(None)


def test_limit_keeps_the_first_images_and_changes_the_digest() -> None:
    whole, part = load_images(None), load_images(None, limit=100)
    assert torch.equal(part.train_images, whole.train_images[:100])
    assert torch.equal(part.train_labels, whole.train_labels[:100])
    assert torch.equal(part.test_images, whole.test_images)
    assert part.digest() != whole.digest()
    assert load_images(None, limit=10**9).digest() == whole.digest()
