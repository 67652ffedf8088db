"""Levy noise at kernel level: which bits serve it, its formula restated, and the CPU's against the reference's.

It is outside of the bit contract: the two agree to a binary32 rounding, and each with itself to the last bit.
"""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from torch import Tensor

from qlangevin import reference_numbers
from qlangevin.levy import LARGEST_DRAW
from qlangevin.reference_levy import levy
from tests.tolerances import bound

from . import oracle
from .kernels import (
    USABLE_PATHS,
    Job,
    Step,
    bits_of,
    compare_jobs,
    make_input,
    make_plan,
    run_plan,
    settings,
    step_native,
    step_reference,
)
from .test_draws import CHAIN, FAR, KEY, STEP, STEPPERS

TAIL_INDICES = (1.0 + 2.0**-52, 1.1, 1.5, 1.9, 2.0)
SCALE_1 = {"lr": 0.5, "temperature": 1.0, "noise": "levy"}  # 2 lr T' = 1

# Elements 0 to 9 at KEY, STEP, CHAIN of purposes 16 and 17. They change only with an entry under "Numerics" in the changelog.
GOLDEN_SECOND_WORDS = [
    0x487E0C70,
    0x5F6E2EC5,
    0xAF125032,
    0x1932CA9E,
    0x78162C9C,
    0x79A2C27C,
    0x71A25383,
    0x6560F1BE,
    0x1A2C9362,
    0x91BCA013,
]


def word_of(element: int, purpose: int) -> int:
    """The 32 bits of an element, in plain integers."""
    group, lane = divmod(element, 8)
    return oracle.philox(oracle.counter_of(group, purpose + lane // 4, STEP, CHAIN), KEY)[lane % 4]


def textbook(first: int, second: int, alpha: float) -> float:
    """The formula as Chambers, Mallows and Stuck print it, for a uniform angle and an exponential."""
    v = (((first & 0x7FFFFFFF) << 8 | second >> 24) + 0.5) / 2.0**39
    w = -math.log(((second & 0xFFFFFF) + 0.5) / 2.0**24)
    angle = math.pi / 2.0 * (1.0 - v) * (-1.0 if first >> 31 else 1.0)
    factor = (math.cos((1.0 - alpha) * angle) / w) ** ((1.0 - alpha) / alpha)
    return math.sin(alpha * angle) / math.cos(angle) ** (1.0 / alpha) * factor


def draw(name: str, alpha: float, size: int = 10, offset: int = 0) -> Tensor:
    """The noise of a step whose parameter and gradient are 0."""
    job = Job(torch.zeros(size), torch.zeros(size), key=KEY, offset=offset, steps=torch.tensor(STEP - 1))
    STEPPERS[name](Step("plain", [settings(**SCALE_1, tail_index=alpha)], chain=CHAIN), [job])
    return job.param


def test_the_golden_words() -> None:
    assert [word_of(element, reference_numbers.LEVY) for element in range(10)] == GOLDEN_SECOND_WORDS
    at = reference_numbers.Coordinates(KEY, STEP, CHAIN, 0, 10, torch.device("cpu"))
    assert at.draw_words(reference_numbers.LEVY).tolist() == GOLDEN_SECOND_WORDS


@pytest.mark.parametrize("offset", [0, 5, FAR])
@pytest.mark.parametrize("alpha", TAIL_INDICES)
@pytest.mark.parametrize("name", STEPPERS)
def test_a_step_draws_the_textbook_s_formula_from_its_words(name: str, alpha: float, offset: int) -> None:
    drawn = draw(name, alpha, 70, offset)
    wanted = [textbook(word_of(at, 0), word_of(at, 16), alpha) for at in range(offset, offset + 70)]
    for one, other in zip(drawn.tolist(), wanted, strict=True):
        assert math.isclose(one, other, rel_tol=bound("levy"))


def test_the_purposes_of_levy_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    original = reference_numbers.philox

    def record(c: list[Tensor], k0: int, k1: int, rounds: int = 10) -> list[Tensor]:
        drawn.extend((c[1] >> 16).tolist())
        return original(c, k0, k1, rounds)

    monkeypatch.setattr(reference_numbers, "philox", record)
    draw("reference", 1.5, 16)
    assert sorted(drawn) == [0, 0, 1, 1, 16, 16, 17, 17]


EDGES = (0, 1, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF)
SECOND_EDGES = (0, 1, 0xFFFFFF, 0x1000000, 0xFF000000, 0xFFFFFFFF)


@pytest.mark.parametrize("alpha", [*TAIL_INDICES, 1.000001, 1.999999, math.nextafter(2.0, 1.0)])
def test_every_value_is_finite_and_odd_in_the_sign(alpha: float) -> None:
    words = torch.tensor(list(itertools.product(EDGES, SECOND_EDGES)))
    drawn = levy(words[:, 0], words[:, 1], alpha)
    assert bool(drawn.isfinite().all()) and float(drawn.abs().max()) < LARGEST_DRAW
    assert levy(words[:, 0] ^ 0x80000000, words[:, 1], alpha).equal(-drawn)


def make_jobs(seed: int, dtype: torch.dtype = torch.float32) -> list[Job]:
    """Tensors of odd sizes and offsets in two groups, one of them without noise."""
    generator, draws = torch.Generator().manual_seed(seed), random.Random(seed)
    sizes = (1, 7, 8, 9, 63, 65, 257, 1000, 16_389, 0)
    offsets = (0, 1, 13, 16_383, 2**35 - 40, 2**51 - 2**20)
    jobs = []
    for number, size in enumerate(sizes):
        values = [torch.randn(size, generator=generator).to(dtype) for _ in range(2)]
        offset, steps = draws.choice(offsets), torch.tensor(draws.choice((0, 1, 12_344, 2**32 - 3)))
        jobs.append(Job(*values, key=draws.getrandbits(64), offset=offset, noise=number != 4, group=number % 2, steps=steps))
    return jobs


STEP_OF_TWO = Step(
    "plain",
    [
        settings(lr=0.1, temperature=0.3, noise="levy", tail_index=1.3, weight_decay=0.1),
        settings(lr=0.01, temperature=2.0, noise="levy", tail_index=1.8, update_rounding="dither", update_resolution=64.0),
    ],
    (1.0, -0.5),
    chain=5,
)
SCALES = tuple(math.sqrt(2.0 * h["lr"] * h["temperature"]) for h in STEP_OF_TWO.hypers)


@pytest.mark.parametrize("path", USABLE_PATHS)
@pytest.mark.parametrize("seed", range(4))
def test_native_is_within_a_rounding_of_the_reference(seed: int, path: str) -> None:
    got, wanted, still = make_jobs(seed), make_jobs(seed), make_jobs(seed)
    step_native(STEP_OF_TWO, got, path)
    step_reference(STEP_OF_TWO, wanted)
    step_reference(Step("plain", [h | {"temperature": 0.0} for h in STEP_OF_TWO.hypers], (1.0, -0.5), chain=5), still)
    for one, other, without in zip(got, wanted, still, strict=True):
        noise = (other.param.double() - without.param.double()).abs()
        assert bool(noise.any()) == (one.noise and one.param.numel() > 0)
        sums = bound("levy") * other.param.double().abs()  # the last roundings, one on either side
        assert bool(((one.param.double() - other.param.double()).abs() <= bound("scaled_levy") * noise + sums).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stored_in_16_bits_native_is_at_most_a_neighbour(dtype: torch.dtype) -> None:
    got, wanted = make_jobs(1, dtype), make_jobs(1, dtype)
    step = Step("plain", [h | {"stochastic_param": True} for h in STEP_OF_TWO.hypers], (1.0, -0.5), chain=5)
    step_native(step, got)
    step_reference(step, wanted)
    for one, other in zip(got, wanted, strict=True):
        assert bool(((bits_of(one.param).int() - bits_of(other.param).int()).abs() <= 1).all())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("path", USABLE_PATHS)
def test_paths_and_threads_change_no_bit(path: str, threads: int) -> None:
    got, wanted = make_jobs(9), make_jobs(9)
    step_native(STEP_OF_TWO, got, path, threads)
    step_native(STEP_OF_TWO, wanted, "portable", 1)
    assert compare_jobs(got, wanted) == []


def test_shards_draw_their_part() -> None:
    whole = draw("portable", 1.5, 5000)
    for offset, size in ((0, 100), (3, 997), (4099, 901)):
        for path in USABLE_PATHS:
            assert draw(path, 1.5, size, offset).equal(whole[offset : offset + size])


@pytest.mark.parametrize("path", USABLE_PATHS)
def test_an_observed_step_draws_the_same(path: str) -> None:
    jobs, wanted = make_jobs(2), make_jobs(2)
    plan = make_plan("plain", jobs, path)
    native_input = make_input(STEP_OF_TWO, jobs)
    before = [bits_of(job.param).clone() for job in jobs]
    plan.look_ahead(native_input)
    assert all(bits_of(job.param).equal(bits) for job, bits in zip(jobs, before, strict=True))
    plan.step_observed(native_input)
    run_plan(make_plan("plain", wanted, path), STEP_OF_TWO, wanted)
    assert compare_jobs(jobs, wanted) == []


@pytest.mark.parametrize(
    ("rule", "changes", "tail_indices", "words"),
    [
        ("plain", {}, [], "tail index in"),
        ("plain", {}, [1.0], "tail index in"),
        ("plain", {}, [2.5], "tail index in"),
        ("plain", {}, [math.nan], "tail index in"),
        ("plain", {}, [1.5, 1.5], "one tail index for each group"),
        ("plain", {"corrected_param": True}, [1.5], "not corrected"),
        ("momentum", {}, [1.5], "for rule 'plain'"),
        ("rmsprop", {}, [1.5], "for rule 'plain'"),
    ],
)
def test_the_native_module_refuses_before_it_writes(
    rule: str, changes: dict[str, bool], tail_indices: list[float], words: str
) -> None:
    job = Job(torch.ones(9), torch.ones(9), [torch.zeros(9)] if rule != "plain" else [])
    native_input = make_input(Step(rule, [settings(**SCALE_1, **changes)]), [job])
    native_input.tail_indices = tail_indices
    plan = make_plan(rule, [job])
    for take in (plan.step, plan.step_observed, plan.look_ahead):
        with pytest.raises(ValueError, match=words):
            take(native_input)
    assert job.param.equal(torch.ones(9)) and int(job.steps) == 0
