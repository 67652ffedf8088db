"""pytest-benchmark cases of one step; `make bench` runs them. Ratios between alternating cases: benchmarks/ratios.py."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from qlangevin import selftest

from .cases import CASES, LISTS, Case, make_params


@pytest.fixture(scope="session", autouse=True)
def native_is_right() -> None:
    """A backend whose bits are wrong is not timed."""
    assert all(selftest.check_backend("native").values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("shapes", LISTS.values(), ids=LISTS.keys())
def test_step(benchmark: BenchmarkFixture, case: Case, shapes: tuple[int, int], request: pytest.FixtureRequest) -> None:
    benchmark.group = request.node.callspec.id.rsplit("-", 1)[0]
    step = case.make(make_params(shapes, case.dtype))
    step()
    benchmark.pedantic(step, rounds=5, iterations=1, warmup_rounds=1)
