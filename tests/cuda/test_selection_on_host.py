"""Which kernel steps which tensors: bits cannot tell, as all that could are right."""

from __future__ import annotations

import re
from itertools import product

import pytest

from qlangevin.reference_rules import RULES
from tests.core.kernels import DTYPES
from tests.design.sources import read

from .on_host import gpu, needs_gpu_on_host

pytestmark = needs_gpu_on_host

STATES = ("float32", "bfloat16")
TYPES = [list(types) for types in product(DTYPES, DTYPES, STATES)]


# Whether a step is observed, and whether it is unusual.
USUAL, UNUSUAL, OBSERVED, BOTH = (False, False), (False, True), (True, False), (True, True)


def find_all(rule: str, kind: tuple[bool, bool]) -> dict[bool, set[int]]:
    """The kernels of all types, by whether gradients have their parameter's."""
    return {
        alike: {gpu.find_step(rule, types, *kind) for types in TYPES if (types[0] == types[1]) == alike}
        for alike in (True, False)
    }


@pytest.mark.parametrize("rule", RULES)
def test_usual_types_have_their_own_kernel_and_all_others_share_one(rule: str) -> None:
    found = find_all(rule, USUAL)
    assert len(found[True]) == len(DTYPES) * (len(STATES) if RULES[rule].states else 1)
    assert len(found[False]) == 1 and not found[True] & found[False]


@pytest.mark.parametrize("rule", RULES)
def test_all_observed_steps_share_another(rule: str) -> None:
    found, bare = find_all(rule, OBSERVED), find_all(rule, USUAL)
    assert len(found[True]) == 1 and found[True] == found[False]
    assert not found[True] & (bare[True] | bare[False])


@pytest.mark.parametrize("rule", RULES)
def test_an_unusual_step_of_any_types_is_one_of_unlike_types(rule: str) -> None:
    found, usual = find_all(rule, UNUSUAL), find_all(rule, USUAL)
    assert found[True] == found[False] == usual[False]
    both, observed = find_all(rule, BOTH), find_all(rule, OBSERVED)
    assert both[True] == both[False] and not both[True] & (found[True] | observed[True])


def test_rules_share_all_their_kernels_or_none() -> None:
    kernels = [
        frozenset().union(*(kernel for kind in (USUAL, UNUSUAL, OBSERVED, BOTH) for kernel in find_all(rule, kind).values()))
        for rule in RULES
    ]
    listed = re.findall(r"set\(kernel_rules ([^)]*)\)", read("CMakeLists.txt"))[0].split()
    assert len(set(kernels)) == len(listed)
    assert len(frozenset().union(*kernels)) == sum(map(len, set(kernels)))


@pytest.mark.parametrize("kind", [USUAL, UNUSUAL, OBSERVED, BOTH])
@pytest.mark.parametrize("grad", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_states_of_binary16_have_no_kernel(rule: str, grad: str, kind: tuple[bool, bool]) -> None:
    assert bool(gpu.find_step(rule, ["float32", grad, "float16"], *kind)) == (not RULES[rule].states)
