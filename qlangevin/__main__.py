"""``python -m qlangevin``: info | train | bench | bytes."""

from __future__ import annotations

import argparse
import platform
import sys

import torch

from . import __version__, selftest
from .backends import explain_backends, find_automatic
from .backends.native import check_cpu_path, cpu_path, explain_cpu_paths
from .bench import command as bench
from .bench import sizes
from .demo import train
from .errors import QlangevinError
from .native_module import cuda_architectures, explain_cuda
from .state import NUMERICS_VERSION


def print_cuda() -> None:
    """Prints what the CUDA kernels are compiled for, and every device with the reason why they cannot run there."""
    capabilities = [f"{architecture / 10:.1f}" for architecture in cuda_architectures()]
    devices = torch.cuda.device_count()
    print("\nCUDA kernels of the native module:")
    if capabilities:
        print(f"  built for  compute capability {', '.join(capabilities)}; as PTX for what is newer")
    for index in range(devices):
        print(f"  device {index}   {torch.cuda.get_device_name(index)}: {explain_cuda(index) or 'usable'}")
    if not devices:
        print(f"  not usable {explain_cuda(0) or 'torch finds no CUDA device'}")
    if torch.version.cuda is None:
        print(f"  torch      {torch.__version__} is built without CUDA")


def print_info() -> int:
    """Prints versions, backends and why one is not usable, CPU paths and a self-test; 1 if a usable backend fails it."""
    print(f"qlangevin {__version__} (numerics version {NUMERICS_VERSION})")
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()}, {torch.get_num_threads()} threads"
    )
    print("\nCPU paths of the native module:" if explain_cpu_paths() else "\nThe native module is not installed.")
    for path, why in explain_cpu_paths().items():
        print(f"  {path:<10} {why or 'usable'}")
    if explain_cpu_paths():
        print(f"  chosen by QLANGEVIN_CPU={cpu_path()}")
    check_cpu_path()
    print_cuda()
    devices = [torch.device("cpu"), *(torch.device(kind) for kind in ("cuda", "xpu") if getattr(torch, kind).is_available())]
    return int(any([print_backends(device) for device in devices]))


def print_backends(device: torch.device) -> bool:
    """Prints the backends for a device's tensors, and self-tests the usable ones; whether one of them fails."""
    chosen = find_automatic(device, (torch.float32,) * 3).name
    print(f"\nBackends for {device.type.upper()} tensors; auto takes {chosen}, the first that is usable:")
    failed = False
    for name, reason in explain_backends(device, (torch.float32,) * 3).items():
        print(f"  {name:<10} {'usable' if reason is None else f'not usable: {reason}'}")
        if reason is None:
            for case, passed in selftest.check_backend(name, device).items():
                print(f"    self-test {'passed' if passed else 'FAILED'}: {case}")
                failed |= not passed
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m qlangevin", description="Quantized and Langevin optimizers for PyTorch.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, backends and why one is not usable here, self-test")
    train.add_arguments(commands.add_parser("train", help="the demo: optimizers and bf16 weights, on images and on text"))
    bench.add_arguments(commands.add_parser("bench", help="times optimizers against each other: tables, JSON, a picture"))
    commands.add_parser("bytes", help="bytes of weights and states for one parameter, every optimizer and storage type")
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "bench":
            return bench.run(parsed)
        if parsed.command == "bytes":
            print(sizes.format_bytes())
            return 0
        return print_info() if parsed.command == "info" else train.run(parsed)
    except KeyboardInterrupt:
        print("\ninterrupted; train resumes what was saved with --checkpoint FILE", file=sys.stderr)
        return 130
    except QlangevinError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
