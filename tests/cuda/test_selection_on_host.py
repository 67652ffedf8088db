"""Which kernel steps which tensors: bits cannot tell, as all that could are right."""

from __future__ import annotations

from itertools import product

import pytest

from qlangevin import reference_rules
from tests.core.kernels import DTYPES

from .on_host import gpu, needs_gpu_on_host

pytestmark = needs_gpu_on_host

STATES = ("float32", "bfloat16")
TYPES = list(product(DTYPES, DTYPES, STATES))
OWNERS = ("plain", "momentum")  # of kernels


@pytest.mark.parametrize("rule", OWNERS)
def test_usual_types_have_their_own_kernel(rule: str) -> None:
    states = STATES if reference_rules.RULES[rule].states else STATES[:1]
    own = {gpu.find_step(rule, [param, param, state], False) for param, state in product(DTYPES, states)}
    assert len(own) == len(DTYPES) * len(states)
    assert not own & {gpu.find_step(rule, types, True) for types in TYPES}


@pytest.mark.parametrize("rule", OWNERS)
def test_all_others_share_one_and_all_observed_steps_another(rule: str) -> None:
    unlike = {gpu.find_step(rule, types, False) for types in TYPES if types[0] != types[1]}
    observed = {gpu.find_step(rule, types, True) for types in TYPES}
    own = {gpu.find_step(rule, types, False) for types in TYPES if types[0] == types[1]}
    assert len(unlike) == len(observed) == 1 and len(unlike | observed | own) == 2 + len(own)


def test_no_two_rules_share_kernels_unless_they_say_so() -> None:
    kernels = {rule: {gpu.find_step(rule, types, seen) for types in TYPES for seen in (False, True)} for rule in OWNERS}
    assert not kernels["plain"] & kernels["momentum"]
    assert gpu.find_step("cool_momentum", TYPES[0], False) in kernels["momentum"]


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("grad", DTYPES)
def test_states_of_binary16_have_no_kernel(grad: str, observed: bool) -> None:
    assert gpu.find_step("momentum", ["float32", grad, "float16"], observed) == 0
    assert gpu.find_step("plain", ["float32", grad, "float16"], observed) != 0
