"""The Triton kernels = the native ones = the reference, bit for bit; nothing stale is used, and nothing compiled twice.

QLANGEVIN_GPU_SHARD=i/n takes the cases of every n-th kernel, as compiling takes longer than stepping.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu.first_step import count_compiled
from qlangevin import SGLD
from qlangevin.native_module import explain_cuda
from qlangevin.quantizers import Grid
from qlangevin.reference_rules import RULES
from tests.core.cases import Case, list_cases
from tests.optim.snapshots import assert_same

from .device import BACKEND, CPU, DEVICE, MISSING, ON_HOST, ORACLE, SMALL, needs_gpu, synchronize
from .plans import JUNK, SHIFTS, DevicePlan
from .problems import IN_FIRST_GROUP, make_device_problem, make_optimizer, result_of
from .test_gpu_kernels import SHARD, SHARDS, check_steps, check_views
from .test_gpu_memory import check_large
from .triton_plans import TritonJobs

pytestmark = pytest.mark.skipif(
    BACKEND != "triton" or MISSING is not None, reason=MISSING or "Triton is tested with QLANGEVIN_GPU_BACKEND=triton"
)

MAKERS = (TritonJobs,) if ON_HOST or explain_cuda(0) is not None else (TritonJobs, DevicePlan)
BLOCKS = 10
MOST_JUNK = 1000  # pieces of memory until one lies where it was freed


def kernel_of(case: Case) -> tuple[bool, str, str, str]:
    """What the kernel of a case is compiled for; the rules with a state share theirs."""
    states = bool(RULES[case.rule].states)
    return states, case["param"], case["grad"], case["state"] if states else ""


def list_shared() -> list[Case]:
    """The cases of this process; in the interpreter a few small ones."""
    cases = list(list_cases())
    kernels = sorted(set(map(kernel_of, cases)))
    mine = [case for case in cases if kernels.index(kernel_of(case)) % SHARDS == SHARD]
    if ON_HOST:
        return [replace(case, large=600) for case in mine if case["size"] < 300][:: 150 if SMALL else 15]
    return mine[:: 60 if SMALL else 1]


def shifts_of(number: int) -> list[int | None]:
    """Of the memory for each way to step: every other lies on 16 bytes, in the next case the others."""
    shift = number % SHIFTS
    return [None, shift, shift + 1, None] if number % 2 else [shift, None, None, shift + 1]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_triton_equals_native_and_the_reference(block: int) -> None:
    problems = []
    for number, case in list(enumerate(list_shared()))[block::BLOCKS]:
        step, fresh, shifts = case.make_step(), case.make_jobs(), shifts_of(number)
        problems += [f"{case}: {problem}" for problem in check_steps(step, fresh, shifts, MAKERS)]
        problems += [f"{case}: {problem}" for problem in check_views(step, fresh, shifts[0], TritonJobs)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


@pytest.mark.skipif(SHARD > 0, reason="the first shard's")
def test_a_tensor_of_more_than_2_31_elements() -> None:
    check_large(TritonJobs)


class Junk:
    """Memory that was freed and has another owner now."""

    def __init__(self) -> None:
        self.pieces: list[Tensor] = []

    def take(self, freed: Sequence[tuple[int, int]]) -> None:
        """Fills the (address, bytes) that were freed; on the host what the allocator gives."""
        gc.collect()
        synchronize()
        for address, size in freed:
            for _ in range(16 if ON_HOST else MOST_JUNK):
                if self.holds(address):
                    break
                self.pieces.append(torch.full((size,), JUNK, dtype=torch.uint8, device=DEVICE))
            assert ON_HOST or self.holds(address), f"{size} bytes were not freed"

    def holds(self, address: int) -> bool:
        """Whether an address is its own now."""
        return any(0 <= address - piece.data_ptr() < len(piece) for piece in self.pieces)

    def is_untouched(self) -> bool:
        """Whether nobody wrote there."""
        return bool((torch.cat(self.pieces) == JUNK).all())


class Losses:
    """An optimizer that loses tensors between its steps."""

    def __init__(self, device: torch.device, backend: str, capturable: bool) -> None:
        self.problem = make_device_problem(device)
        self.optimizer = make_optimizer("SGLD with momentum", self.problem, backend, capturable=capturable)
        self.freed: list[tuple[int, int]] = []
        self.gone: list[weakref.ref[Tensor]] = []

    def lose(self, param: Tensor) -> None:
        """Forgets a parameter and its states."""
        states = self.optimizer.state.pop(param)
        states.pop("step")  # counters share memory with those that stay
        owned = [param, *states.values()]
        self.freed += [(tensor.data_ptr(), tensor.nbytes) for tensor in owned if tensor.numel()]
        self.gone.append(weakref.ref(param))

    def move(self, name: str) -> None:
        """The same parameter elsewhere."""
        param = self.problem.params[name]
        self.freed.append((param.data_ptr(), param.nbytes))
        param.data = param.data.clone()

    def exchange(self, name: str) -> None:
        """Another parameter in the place of one of the first group."""
        place, old = list(self.problem.params).index(name), self.problem.params[name]
        new = self.problem.params[name] = torch.nn.Parameter(old.detach() / 2)
        self.optimizer.param_groups[0]["params"][place] = new
        self.lose(old)

    def drop(self) -> None:
        """The last group goes, with all that it has."""
        for param in self.optimizer.param_groups.pop()["params"]:
            self.lose(param)
        for name in list(self.problem.params)[IN_FIRST_GROUP:]:
            del self.problem.params[name]

    def run(self, take: Callable[[Sequence[tuple[int, int]]], None]) -> dict[str, Tensor]:
        """All of it, and what is left; `take` is told what memory nobody has any more."""
        self.problem.run(self.optimizer, [1, 2])
        self.move("b")
        take(self.freed)
        self.problem.run(self.optimizer, [3])
        self.freed.clear()
        self.exchange("d")
        self.drop()
        self.problem.run(self.optimizer, [4])  # until then the plan keeps what it writes to
        gc.collect()
        assert not any(one() is not None for one in self.gone)
        take(self.freed)
        self.problem.run(self.optimizer, [5, 6])
        synchronize()
        return result_of(self.optimizer, self.problem)


@pytest.mark.skipif(SHARD > 0, reason="the first shard's")
@pytest.mark.parametrize("capturable", [False, True])
def test_what_was_freed_is_not_used(capturable: bool) -> None:
    """A parameter moves, another is exchanged, a group goes; others write where they were."""
    junk = Junk()
    result = Losses(DEVICE, BACKEND, capturable).run(junk.take)
    assert_same(result, Losses(CPU, ORACLE, False).run(lambda freed: None))
    assert junk.is_untouched()


CHANGES: list[dict[str, Any]] = [
    {"lr": 1.0},
    {"lr": 16.0},
    {"lr": 0.0},
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"seed": 0},
    {"seed": 2**64 - 1},
    {"chain": 1},
    {"chain": 7},
    {"momentum": 0.5},
    {"nesterov": True, "temperature": 0.0},
    {"dampening": 0.5, "temperature": 0.0},
    {"weight_decay": 1.0},
    {"maximize": True},
    *({"noise": noise} for noise in ("uniform", "rademacher")),
    *({"param_rounding": way, "state_rounding": way} for way in ("nearest", "stochastic")),
    *({"update_quantizer": Grid(16.0, way)} for way in ("nearest", "stochastic", "floor", "dither")),
    *({"grad_quantizer": Grid(1.0, way)} for way in ("nearest", "stochastic", "floor", "dither")),
]


COUNTS = (0, 1, 15, 2**31, 2**32 - 3)


def step_changed(dtype: torch.dtype, sizes: Sequence[int], counts: Sequence[int] = COUNTS, **changes: Any) -> None:
    """Steps after so many steps, between which lr changes."""
    params = [torch.nn.Parameter(torch.ones(size, dtype=dtype, device=DEVICE)) for size in sizes]
    options = {"lr": 0.1, "temperature": 1e-3, "momentum": 0.9, "seed": 1, **changes}
    optimizer = SGLD(params, backend="triton", **options)
    for count in counts:
        for param in params:
            param.grad = torch.ones_like(param)
            if count:
                optimizer.state[param]["step"].fill_(count)
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.5
    synchronize()


@needs_gpu
@pytest.mark.skipif(SHARD > 0, reason="the first shard's")
def test_a_change_of_numbers_or_options_compiles_nothing() -> None:
    """And another type of the parameters does."""
    step_changed(torch.bfloat16, [300], counts=[0])
    with count_compiled() as compiled:
        for change in CHANGES:
            step_changed(torch.bfloat16, [300], **change)
        for sizes in ([1], [16] * 16, [4097, 5], [100_000]):
            step_changed(torch.bfloat16, sizes)
    assert compiled == []
    with count_compiled() as compiled:
        step_changed(torch.float32, [300])
    assert compiled == ["step_kernel"]
