"""Read the demo's images: Fashion-MNIST (IDX files), CIFAR-10 (binary version), or scikit-learn's digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from qlangevin.demo.data import DataError, digest_tensors, read_bytes

FASHION_MNIST = "Fashion-MNIST"
CIFAR10 = "CIFAR-10"
DIGITS = "digits"
NUM_CLASSES = 10

# Where Debian's package dataset-fashion-mnist installs its files.
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

_IDX_TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_IDX_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_IDX_MAGIC = b"\x00\x00\x08"  # two zero bytes, then the code of unsigned bytes; the fourth byte is the rank

_CIFAR_SIDE = 32
_CIFAR_RECORD = 1 + 3 * _CIFAR_SIDE * _CIFAR_SIDE

_DIGITS_TRAIN = 1500


@dataclass(frozen=True)
class ImageData:
    """One data set in memory.

    Args:
        name: what the demo prints.
        train_images: (N, C, H, W) uint8.
        train_labels: (N,) int64 in [0, 10).
        test_images: (M, C, H, W) uint8.
        test_labels: (M,) int64 in [0, 10).
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def digest(self) -> str:
        """Return a fingerprint of every pixel and label."""
        return digest_tensors((self.train_images, self.train_labels, self.test_images, self.test_labels))


def load_images(folder: Path | None, limit: int | None = None) -> ImageData:
    """Load the data set in `folder`; without a folder Debian's Fashion-MNIST, else scikit-learn's digits.

    Args:
        folder: holds the IDX files of Fashion-MNIST (plain or .gz) or the .bin files of CIFAR-10.
        limit: keep only the first `limit` training images.

    Raises:
        DataError: the folder holds neither, or a file in it is truncated or corrupt.
    """
    if folder is not None:
        data = _load_folder(folder)
    elif _holds_idx(DEBIAN_FOLDER):
        data = load_fashion_mnist(DEBIAN_FOLDER)
    else:
        data = load_digits()
    if limit is None or limit >= len(data.train_labels):
        return data
    # A copy: a slice would keep the whole set in memory, and its storage in the way of the digest.
    images, labels = data.train_images[:limit].clone(), data.train_labels[:limit].clone()
    return ImageData(data.name, images, labels, data.test_images, data.test_labels)


def _load_folder(folder: Path) -> ImageData:
    if not folder.is_dir():
        raise DataError(f"--data-dir {folder} is not a folder")
    if _holds_idx(folder):
        return load_fashion_mnist(folder)
    if any(folder.glob("data_batch_*.bin")) or (folder / "test_batch.bin").exists():
        return load_cifar10(folder)
    raise DataError(
        f"--data-dir {folder} holds neither Fashion-MNIST ({_IDX_TRAIN[0]}[.gz], ...) "
        "nor CIFAR-10 in its binary version (data_batch_1.bin, ..., test_batch.bin)"
    )


def _holds_idx(folder: Path) -> bool:
    return any((folder / (name + end)).exists() for name in _IDX_TRAIN + _IDX_TEST for end in ("", ".gz"))


def load_fashion_mnist(folder: Path) -> ImageData:
    """Load the four IDX files of Fashion-MNIST (or MNIST: the format and the names are the same)."""
    train, test = _read_idx_pair(folder, _IDX_TRAIN), _read_idx_pair(folder, _IDX_TEST)
    _check_same_shape(folder, train[0], test[0])
    return ImageData(FASHION_MNIST, *train, *test)


def load_cifar10(folder: Path) -> ImageData:
    """Load CIFAR-10's binary files: every data_batch_*.bin found, and test_batch.bin."""
    batches = sorted(folder.glob("data_batch_*.bin"))
    if not batches:
        raise DataError(f"{folder} has no data_batch_*.bin: CIFAR-10's training images are missing")
    parts = [read_cifar(path) for path in batches]
    test = read_cifar(folder / "test_batch.bin")
    images = torch.cat([part[0] for part in parts])
    return ImageData(CIFAR10, images, torch.cat([part[1] for part in parts]), *test)


def load_digits() -> ImageData:
    """Load scikit-learn's 1,797 digits of 8 x 8 pixels, which need no download, in a fixed shuffled split."""
    try:
        from sklearn.datasets import load_digits as load  # noqa: PLC0415  an extra
    except ImportError as error:
        raise DataError(
            "no --data-dir, no Fashion-MNIST on this machine, and scikit-learn, whose digits would do, "
            "is missing: pip install 'qlangevin[demo]'"
        ) from error
    bunch = load()
    # Pixels are 0..16. The file is ordered by writer, so an unshuffled split would test on other writers.
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(bunch.images * 15.0).round().to(torch.uint8).unsqueeze(1)[order]
    labels = torch.from_numpy(bunch.target).to(torch.int64)[order]
    cut = _DIGITS_TRAIN
    return ImageData(DIGITS, images[:cut], labels[:cut], images[cut:], labels[cut:])


def read_idx(path: Path) -> Tensor:
    """Read one IDX file of unsigned bytes, plain or .gz, into a uint8 tensor of the shape its header names.

    Raises:
        DataError: the magic number, the size or the compression is wrong.
    """
    content = read_bytes(path)
    if len(content) < 4 or content[:3] != _IDX_MAGIC:
        raise DataError(f"{path} is not an IDX file of unsigned bytes: it starts with {content[:4].hex() or 'nothing'}")
    rank = content[3]
    start = 4 + 4 * rank
    if rank == 0 or len(content) < start:
        raise DataError(f"{path} is truncated inside its IDX header ({len(content)} bytes, rank {rank})")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    size = 1
    for extent in shape:
        size *= extent
    if len(content) - start != size:
        raise DataError(f"{path} holds {len(content) - start} bytes of data; its header {shape} promises {size}")
    if size == 0:
        raise DataError(f"{path} is empty: its header says {shape}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def read_cifar(path: Path) -> tuple[Tensor, Tensor]:
    """Read one CIFAR-10 batch: records of a label byte and the red, green and blue planes of 32 x 32 bytes.

    Returns:
        images (N, 3, 32, 32) uint8 and labels (N,) int64.
    """
    content = read_bytes(path)
    if not content or len(content) % _CIFAR_RECORD:
        raise DataError(f"{path} holds {len(content)} bytes, which is not a number of {_CIFAR_RECORD}-byte records")
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, _CIFAR_RECORD)
    images = records[:, 1:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE)
    return images, _check_labels(path, records[:, 0])


def _read_idx_pair(folder: Path, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    image_path, label_path = (_find_idx(folder, name) for name in names)
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.dim() != 3:
        raise DataError(f"{image_path} has rank {images.dim()}, not 3 (images, rows, columns)")
    if labels.dim() != 1:
        raise DataError(f"{label_path} has rank {labels.dim()}, not 1")
    if len(images) != len(labels):
        raise DataError(f"{image_path} holds {len(images)} images, {label_path} {len(labels)} labels")
    return images.unsqueeze(1), _check_labels(label_path, labels)


def _find_idx(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / (name + ".gz")):
        if path.exists():
            return path
    raise DataError(f"{folder} has no {name} and no {name}.gz")


def _check_labels(path: Path, labels: Tensor) -> Tensor:
    if int(labels.max()) >= NUM_CLASSES:
        raise DataError(f"{path} is corrupt: label {int(labels.max())} is not below {NUM_CLASSES}")
    return labels.to(torch.int64)


def _check_same_shape(folder: Path, train: Tensor, test: Tensor) -> None:
    if train.shape[1:] != test.shape[1:]:
        sizes = f"{tuple(train.shape[2:])} and {tuple(test.shape[2:])}"
        raise DataError(f"{folder}: training and test images differ in size: {sizes}")
