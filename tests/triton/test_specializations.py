"""What is compiled again: nothing but another rule or other storage types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from qlangevin.reference_rules import RULES
from qlangevin.triton_kernels import prepare, squares
from qlangevin.triton_kernels import step as kernels
from qlangevin.triton_kernels.prepare import Request

from ..core.kernels import DTYPES, Job, Step, settings
from .launching import dtypes_of, make_tables
from .preparing import Group, Preparation

MOST_IN_A_RUN = 3


class Launches:
    """Stands for the kernel; keeps the key that Triton would look each launch up by."""

    def __init__(self, kernel: JITFunction[Any]) -> None:
        self.backend = make_backend(GPUTarget("cuda", 90, 32))
        self.bind = create_function_from_signature(kernel.signature, kernel.params, self.backend)
        self.keys: set[str] = set()
        self.grids: list[tuple[int, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        self.grids.append(grid)

        def launch(*args: Any, **options: Any) -> None:
            _, specialization, rest = self.bind(*args, **options)
            self.keys.add(f"{specialization} {rest}")

        return launch


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    found = Launches(kernels.step_kernel)
    monkeypatch.setattr(kernels, "step_kernel", found)
    yield found


def make_job(size: int, dtypes: tuple[str, str, str] = ("bfloat16",) * 3, states: int = 1, **others: Any) -> Job:
    param, grad, *state = (torch.zeros(size, dtype=DTYPES[name]) for name in (*dtypes[:2], *[dtypes[2]] * states))
    return Job(param, grad, state, **others)


def launch(step: Step, jobs: list[Job]) -> None:
    kernels.launch_step(step.rule, dtypes_of(jobs[0]), make_tables(step, jobs))


CHANGES: list[dict[str, Any]] = [
    {},
    {"lr": 1.0},
    {"lr": 0.0},
    {"lr": 16.0},
    {"temperature": 1.0},
    {"momentum": 0.9},
    {"momentum": 1.0, "nesterov": True},
    {"dampening": 1.0},
    {"weight_decay": 1.0},
    {"decoupled_weight_decay": 1.0},
    *({"noise": kind, "temperature": 1.0} for kind in ("gaussian", "uniform", "rademacher", "averaged_gaussian")),
    *({"grad_rounding": mode, "grad_resolution": 16.0} for mode in ("nearest", "stochastic", "floor", "dither")),
    {"grad_rounding": "nearest", "grad_resolution": 16.0, "grad_blocks": True},
    *({"update_rounding": mode, "update_resolution": 1.0} for mode in ("nearest", "stochastic", "floor", "dither")),
    {"stochastic_param": True},
    {"stochastic_state": True},
    {"corrected_param": True, "temperature": 1.0},
    {"eps": 0.0},
    {"eps": 1.0, "beta1": 0.0, "beta2": 0.0},
    {"frozen_at": 1},
    {"momentum_in_drift": False},
    {"epsilon_hat": True},
]


def test_a_change_of_options_compiles_nothing(launches: Launches) -> None:
    for number, rule in enumerate(dict.fromkeys(kernels.KERNELS.values()), 1):
        for change in CHANGES:
            steps = torch.tensor(5)
            launch(Step(rule, [settings(**change)]), [make_job(100, states=len(RULES[rule].states), steps=steps)])
        assert len(launches.keys) == number


def test_a_change_of_tensors_steps_keys_and_places_compiles_nothing(launches: Launches) -> None:
    step = Step("momentum", [settings()], (0.5,), chain=16)
    for jobs in (
        [make_job(1)],
        [make_job(16)] * 16,
        [make_job(4096 * 3 + 1, offset=2**35 + 1)],
        [make_job(7), make_job(0), make_job(4097, key=2**64 - 1, noise=False)],
        [make_job(5, steps=torch.tensor(2**32 - 3), compensation=0.5)],
    ):
        launch(step, jobs)
    assert len(launches.keys) == 1 and {grid[0] for grid in launches.grids} == {1, 16, 4, 3}


def move(table: torch.Tensor, shift: int) -> torch.Tensor:
    """A tensor of the same shape, `shift` elements beside 16 bytes."""
    buffer = torch.zeros(table.numel() + 32, dtype=table.dtype)
    start = (-buffer.data_ptr() % 64) // buffer.element_size() + shift
    moved = buffer[start : start + table.numel()].view(table.shape)
    assert (moved.data_ptr() % 16 == 0) == (shift == 0)
    return moved


def test_the_tables_addresses_compile_nothing(launches: Launches) -> None:
    """A table that lies on 16 bytes or not: a view of a larger one may do either."""
    step, job = Step("momentum", [settings()]), make_job(20)
    tables = make_tables(step, [job])
    for shift in (0, 1):
        kernels.launch_step(step.rule, dtypes_of(job), kernels.Tables(*(move(table, shift) for table in tables)))
    assert len(launches.keys) == 1


def test_rules_that_share_a_kernel_compile_it_once(launches: Launches) -> None:
    for number, rules in enumerate((("momentum", "cool_momentum", "sghmc"), ("rmsprop", "adagrad")), 1):
        for rule in rules:
            launch(Step(rule, [settings(momentum=0.5)]), [make_job(10)])
        assert len(launches.keys) == number


def test_plain_does_not_depend_on_the_type_of_states_that_it_does_not_have() -> None:
    assert len({kernels.specialize("plain", (torch.float32, torch.float32, state)) for state in DTYPES.values()}) == 1


def test_an_ordinary_run_compiles_few_kernels(launches: Launches) -> None:
    """Weights in bf16, norms and biases in binary32, gradients of either."""
    mixtures = [("bfloat16",) * 3, ("float32",) * 3, ("float32", "bfloat16", "float32")]
    for number in range(3):
        for dtypes in mixtures:
            step = Step("momentum", [settings(lr=1.0 / (number + 1), temperature=1.0, momentum=0.9)])
            launch(step, [make_job(64 * (number + 1), dtypes, steps=torch.tensor(number))])
    assert len(launches.keys) == MOST_IN_A_RUN


def test_each_kernel_has_a_key_of_its_own(launches: Launches) -> None:
    """So the keys do tell kernels apart."""
    for rule in dict.fromkeys(kernels.KERNELS.values()):
        states = len(RULES[rule].states)
        for param in DTYPES:
            for grad in DTYPES:
                for state in ("float32", "bfloat16"):
                    launch(Step(rule, [settings()]), [make_job(3, (param, grad, state), states)])
    assert len(launches.keys) == 9 + 8 * 18


def test_a_step_that_is_seen_or_looked_at_compiles_one_kernel_more_each(launches: Launches) -> None:
    for change in CHANGES:
        for count in (1, 16, 4097):
            step, jobs = Step("momentum", [settings(**change)]), [make_job(count)]
            for shift, stores in ((0, True), (1, True), (0, False), (1, False)):
                statistics = torch.empty(1000, dtype=torch.float64)[shift:]
                kernels.launch_step(step.rule, dtypes_of(jobs[0]), make_tables(step, jobs), statistics, stores)
    assert len(launches.keys) == 2
    launch(Step("momentum", [settings()]), [make_job(1)])
    assert len(launches.keys) == 3


def test_squares_compile_a_kernel_for_each_type_of_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Launches(squares.squares_kernel)
    monkeypatch.setattr(squares, "squares_kernel", found)
    for grad in DTYPES.values():
        for shift, size in ((0, 1), (1, 16), (2, 5000)):
            jobs = [make_job(size), make_job(0), make_job(16, offset=2**40)]
            sums = torch.empty(100, dtype=torch.float64)[shift:]
            squares.launch_squares(grad, make_tables(Step("momentum", [settings()]), jobs), sums)
    assert len(found.keys) == 3 and {grid[0] for grid in found.grids} == {2, 3}


def test_folds_compile_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed or not, whatever the counts and strides are, up to the largest, and wherever the memory begins."""
    found = Launches(squares.fold_kernel)
    monkeypatch.setattr(squares, "fold_kernel", found)
    numbers, found_inf = torch.empty(100, dtype=torch.float64), torch.zeros(5)
    shapes = [squares.Shape(*sizes) for sizes in ((1, 1, 1), (10, 10, 10), (1, 16, 3), (16, 2**31 - 1, 2**31 - 16))]
    for shape in shapes:
        for shift, folds in enumerate((1, 16, 4096, 4097, 2**31 - 1, torch.zeros((1, 3), dtype=torch.int64))):
            squares.launch_fold(numbers[shift:], numbers[5 - shift :], found_inf[shift % 2 :], folds, shape)
            squares.launch_fold(numbers, numbers, found_inf, torch.zeros((16, 3), dtype=torch.int64)[shift:], shape)
    assert len(found.keys) == 1
    assert {grid[1] for grid in found.grids} == {1, 10, 16} and (2**19, 1) in found.grids


@pytest.fixture
def preparations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    found = Launches(prepare.prepare_kernel)
    monkeypatch.setattr(prepare, "prepare_kernel", found)
    yield found


NUMBER = torch.tensor(0.5)
WORDS = (0, 1, 16, 2**31 - 1, 2**31, 2**32 - 1)
REQUESTS = [
    *(
        Request(chain, step)
        for chain in (0, 1, 16, 2**31 - 1, 2**31, 2**32 - 1)
        for step in (0, 1, 16, 2**31 - 1, 2**31, 2**32 - 1)
    ),
    Request(0, from_counters=True),
    Request(0, 1, host_compensations=True),
    Request(0, 1, device_compensations=True),
    Request(0, 1, counts=False),
]
GROUPS = [
    *(Group(settings(**change)) for change in CHANGES),
    Group(settings(), NUMBER),
    Group(settings(), NUMBER.double(), NUMBER),
    Group(settings(), schedule=[settings(), settings()]),
    Group(settings(), facts={"max_grad_norm": 1.0, "compensates": True, "compensation_global": True, "grad_multiplier": -1.0}),
]


def test_the_scalars_are_compiled_once_for_each_rule(preparations: Launches) -> None:
    """Whatever the step asks for, and the groups, and however many tensors there are."""
    for number, rule in enumerate(RULES, 1):
        for request in REQUESTS:
            Preparation(rule, GROUPS[:1], [0], request).run()
        for group in GROUPS:
            Preparation(rule, [group], [0] * 16, REQUESTS[-1], grad_scale=2.0, found_inf=1.0).run()
        Preparation(rule, GROUPS, [0] * 33, REQUESTS[0]).run()
        assert len(preparations.keys) == number
    assert {grid[0] for grid in preparations.grids} == {1, 2}


def test_the_addresses_of_what_scalars_are_made_of_compile_nothing(preparations: Launches) -> None:
    preparation = Preparation("momentum", GROUPS[:1], [0], REQUESTS[0])
    preparation.run()
    assert preparation.inputs is not None
    for shift in (0, 1):
        prepare.launch_prepare("momentum", prepare.Inputs(*(move(one, shift) for one in preparation.inputs)), REQUESTS[0])
    assert len(preparations.keys) == 1
