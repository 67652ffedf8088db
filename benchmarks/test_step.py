"""pytest-benchmark cases of one step: those of `python -m qlangevin bench`; `make bench` runs them.

Here the cases run one after the other, with warm caches where they fit: ratios come from `bench` and benchmarks/ratios.py.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from qlangevin.bench.admission import Admission, admit
from qlangevin.bench.cases import CASES, Case
from qlangevin.bench.measure import make_tensors, probe, wrap_params
from qlangevin.bench.memory import fit
from qlangevin.bench.shapes import LISTS

CPU = torch.device("cpu")
Tensors = dict[torch.dtype, list[tuple[Tensor, Tensor]]]


@pytest.fixture(scope="session")
def admission() -> Admission:
    """A backend whose bits are wrong is not timed."""
    found = admit(CASES, CPU)
    assert not found.red, found.left_out
    return found


@pytest.fixture(scope="module", params=LISTS)
def list_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tensors(list_name: str) -> Iterator[Tensors]:
    """Values and gradients of a list, made once for all cases of a dtype."""
    made: Tensors = {}
    yield made
    made.clear()
    gc.collect()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_step(benchmark: BenchmarkFixture, case: Case, list_name: str, tensors: Tensors, admission: Admission) -> None:
    if case not in admission.cases:
        # A rival that is not installed, or a backend whose self-test is red: it must not be timed, and the reason is printed.
        pytest.skip("; ".join(f"{entry.what}: {entry.why}" for entry in admission.left_out))
    shapes = LISTS[list_name].shapes
    if not tensors.get(case.dtype):
        _, left_out = fit([case], probe([case], CPU)[0], shapes, CPU, 0)
        if left_out:
            pytest.skip(left_out[0].why)  # the memory does not hold the list
        tensors[case.dtype] = make_tensors(shapes, case.dtype, CPU)
    benchmark.group = f"{list_name} {case.dtype}"
    stepper = case.make(wrap_params(tensors[case.dtype]))
    benchmark.pedantic(stepper.step, rounds=5, iterations=1, warmup_rounds=2)
