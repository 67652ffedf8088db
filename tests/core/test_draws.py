"""Which random bits serve what: one golden vector per purpose; the reference, every native path and plain Python agree on it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from qlangevin import reference_numbers

from . import oracle
from .kernels import USABLE_PATHS, Job, Step, bits_of, settings, step_native, step_reference

KEY, STEP, CHAIN = 0x0123456789ABCDEF, 42, 7
FAR = 2**35 + 3  # an element whose group has more than 32 bits

# Elements 0 to 9 at KEY, STEP, CHAIN. They change only with an entry under "Numerics" in the changelog.
GOLDEN_WORDS = [
    0x80D22E5C,
    0xCFEFC879,
    0x2A4D065F,
    0x12948707,
    0xE3FC97E4,
    0xAE659F8E,
    0x92F05417,
    0xF51DBBD6,
    0x718C7CB4,
    0xAC77691A,
]
GOLDEN_FAR_WORDS = [
    0x5181DF67,
    0x172F8106,
    0x0B1EFC07,
    0xD1CD92F4,
    0x13E0C372,
    0x10D3B3FA,
    0x70328BDE,
    0x7B5D8072,
    0xA5C5301E,
    0xCFC9511E,
]
GOLDEN_HALVES = {
    0: [0x2E5C, 0x80D2, 0xC879, 0xCFEF, 0x065F, 0x2A4D, 0x8707, 0x1294, 0x7CB4, 0x718C],
    2: [0x96B0, 0x78ED, 0x563E, 0x526A, 0xE5A9, 0x889B, 0x913D, 0x8FB0, 0x180D, 0xE416],
    3: [0xE579, 0x801A, 0x8199, 0xC1FC, 0x2366, 0xD8DA, 0xAC16, 0xAED5, 0x7545, 0xDEB6],
    4: [0xCE21, 0x9656, 0x19F3, 0x087B, 0x45DE, 0x0DBF, 0xBDCF, 0x5DA9, 0xDBA2, 0xC734],
    8: [0x1B3B, 0x908A, 0x221F, 0x9678, 0xBEBD, 0x6A1F, 0xD4DE, 0x8FC6, 0x0DD8, 0x4B36],
}

# Random123, tests/kat_vectors: rounds, counter, key, words.
KNOWN_ANSWERS = [
    (7, (0, 0, 0, 0), 0, (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
    (7, (2**32 - 1,) * 4, 2**64 - 1, (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662)),
    (
        7,
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0A4093822,
        (0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A),
    ),
    (10, (0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (10, (2**32 - 1,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        10,
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0A4093822,
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

Stepper = Callable[[Step, list[Job]], None]
STEPPERS: dict[str, Stepper] = {"reference": step_reference}
STEPPERS |= {path: (lambda step, jobs, path=path: step_native(step, jobs, path)) for path in USABLE_PATHS}


def coordinates(offset: int = 0, size: int = 10) -> reference_numbers.Coordinates:
    return reference_numbers.Coordinates(KEY, STEP, CHAIN, offset, size, torch.device("cpu"))


@pytest.mark.parametrize(("rounds", "counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(rounds: int, counter: tuple[int, ...], key: int, words: tuple[int, ...]) -> None:
    assert oracle.philox(counter, key, rounds) == words
    tensors = reference_numbers.philox([torch.tensor(c) for c in counter], key & 0xFFFFFFFF, key >> 32, rounds)
    assert tuple(int(word) for word in tensors) == words


def test_golden_words_of_purposes_0_and_1() -> None:
    assert [oracle.draw_word(KEY, STEP, CHAIN, i) for i in range(10)] == GOLDEN_WORDS
    assert coordinates().draw_words().tolist() == GOLDEN_WORDS
    assert [oracle.draw_word(KEY, STEP, CHAIN, FAR + i) for i in range(10)] == GOLDEN_FAR_WORDS
    assert coordinates(FAR).draw_words().tolist() == GOLDEN_FAR_WORDS


@pytest.mark.parametrize("purpose", GOLDEN_HALVES)
def test_golden_halves(purpose: int) -> None:
    assert [oracle.draw_half(KEY, STEP, CHAIN, i, purpose) for i in range(10)] == GOLDEN_HALVES[purpose]
    assert coordinates().draw_halves(purpose).tolist() == GOLDEN_HALVES[purpose]
    assert coordinates(3, 5).draw_halves(purpose).tolist() == GOLDEN_HALVES[purpose][3:8]


def test_the_array_oracle_is_the_integer_oracle() -> None:
    assert oracle.draw_words(KEY, STEP, CHAIN, 10).tolist() == GOLDEN_WORDS
    for purpose, halves in GOLDEN_HALVES.items():
        assert oracle.draw_halves(KEY, STEP, CHAIN, 10, purpose).tolist() == halves


def new_job(param: Tensor, grad: Tensor, states: list[Tensor] | None = None, offset: int = 0) -> Job:
    return Job(param, grad, states or [], KEY, offset, steps=torch.tensor(STEP - 1))


def draw_noise(stepper: Stepper, kind: str, offset: int = 0) -> Tensor:
    """Noise values as a step adds them: the parameter is 0, the gradient too, and 2 lr T = 1."""
    job = new_job(torch.zeros(10), torch.zeros(10), offset=offset)
    stepper(Step("plain", [settings(lr=0.5, temperature=1.0, noise=kind)], chain=CHAIN), [job])
    return job.param


@pytest.mark.parametrize("name", STEPPERS)
def test_a_step_uses_the_golden_words_for_its_noise(name: str) -> None:
    for offset, words in ((0, GOLDEN_WORDS), (FAR, GOLDEN_FAR_WORDS)):
        assert draw_noise(STEPPERS[name], "gaussian", offset).equal(reference_numbers.gaussian(torch.tensor(words)))
    halves = GOLDEN_HALVES[0]
    assert draw_noise(STEPPERS[name], "rademacher").tolist() == [1.0 if half < 0x8000 else -1.0 for half in halves]
    spacing = math.sqrt(12 / (2**32 - 1))
    got = draw_noise(STEPPERS[name], "uniform").double()
    assert torch.allclose(got, (torch.tensor(halves).double() - 32767.5) * spacing, rtol=2.0**-23, atol=0.0)


def step_quantized(stepper: Stepper, which: str, fractions: Tensor) -> list[int]:
    """1 where a gradient or update of this fraction of the grid's spacing was rounded up."""
    job = new_job(torch.zeros(10), -fractions)
    changes = {f"{which}_rounding": "stochastic", f"{which}_resolution": 1.0}
    stepper(Step("plain", [settings(lr=1.0, **changes)], (-1.0 if which == "grad" else 1.0,), CHAIN), [job])
    return [int(value) for value in job.param.abs()]


@pytest.mark.parametrize("name", STEPPERS)
@pytest.mark.parametrize(("which", "purpose"), [("grad", 3), ("update", 4)])
def test_a_step_uses_the_golden_halves_for_its_quantizers(name: str, which: str, purpose: int) -> None:
    halves = torch.tensor(GOLDEN_HALVES[purpose]).double()  # up if and only if fraction > (half + 1/2) / 2^16
    assert step_quantized(STEPPERS[name], which, (halves / 65536).float()) == [0] * 10
    assert step_quantized(STEPPERS[name], which, ((halves + 1) / 65536).float()) == [1] * 10


@pytest.mark.parametrize("name", STEPPERS)
@pytest.mark.parametrize("dropped", [0xFFFF, 0x10000])
def test_a_step_uses_the_golden_halves_for_its_roundings(name: str, dropped: int) -> None:
    """Low bits that carry into bf16's last bit only for a half as large as the golden one: 0x10000 - half does, one less not."""
    up = int(dropped == 0x10000)
    for purpose in (2, 8):
        low = dropped - torch.tensor(GOLDEN_HALVES[purpose])
        low = torch.where(low == 0x10000, 0, low)  # half 0 never carries
        value = (0x3F800000 + low).to(torch.int32).view(torch.float32)
        wanted = [0x3F80 + (up if half else 0) for half in GOLDEN_HALVES[purpose]]
        if purpose == 2:
            job = new_job(torch.ones(10, dtype=torch.bfloat16), 1.0 - value)
            STEPPERS[name](Step("plain", [settings(lr=1.0, stochastic_param=True)], chain=CHAIN), [job])
            assert bits_of(job.param).tolist() == wanted
        else:
            job = new_job(torch.ones(10), value, [torch.zeros(10, dtype=torch.bfloat16)])
            STEPPERS[name](Step("momentum", [settings(lr=0.0, stochastic_state=True)], chain=CHAIN), [job])
            assert bits_of(job.states[0]).tolist() == wanted


def test_no_half_word_serves_two_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every stage on, over tensors, steps and chains, each (counter, key) is drawn once."""
    drawn: list[tuple[int, ...]] = []
    original = reference_numbers.philox

    def record(c: list[Tensor], k0: int, k1: int, rounds: int = 10) -> list[Tensor]:
        drawn.extend((*(int(word) for word in words), k0, k1) for words in zip(*c, strict=True))
        return original(c, k0, k1, rounds)

    monkeypatch.setattr(reference_numbers, "philox", record)
    everything = settings(temperature=1.0, momentum=0.9, stochastic_param=True, stochastic_state=True, grad_resolution=64.0)
    everything |= {"grad_rounding": "stochastic", "update_rounding": "dither", "update_resolution": 64.0}
    for chain in (0, 1):
        jobs = [
            Job(*(torch.ones(20, dtype=torch.bfloat16) for _ in range(2)), [torch.ones(20, dtype=torch.bfloat16)], key)
            for key in (1, 2)
        ]
        for _ in range(2):
            step_reference(Step("momentum", [everything], chain=chain), jobs)
    purposes = {0, 1, 2, 3, 4, 8}
    assert len(drawn) == 2 * 2 * 2 * 3 * len(purposes)  # chains, tensors, steps, groups of 8
    assert len(set(drawn)) == len(drawn)
    assert {counter[1] >> 16 for counter in drawn} == purposes


def test_the_elements_of_a_group_share_no_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def marked(c: list[Tensor], k0: int, k1: int, rounds: int = 10) -> list[Tensor]:
        high = ((c[1] >> 16) * 64 + c[0]) * 8
        return [((high + 2 * i + 1) << 16) | (high + 2 * i) for i in range(4)]

    monkeypatch.setattr(reference_numbers, "philox", marked)
    halves = coordinates(0, 64).draw_halves(2)
    assert len(set(halves.tolist())) == 64
    words = coordinates(0, 64).draw_words()
    assert len(set(words.tolist())) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 1.0, "lr": 0.0},
        {"grad_rounding": "stochastic"},
        {"grad_rounding": "nearest", "grad_resolution": 4.0},
        {"update_rounding": "floor", "update_resolution": 4.0},
        {"stochastic_param": True},
        {"stochastic_state": True},
    ],
    ids=str,
)
def test_a_purpose_that_is_not_used_is_not_drawn(monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a draw was made")

    monkeypatch.setattr(reference_numbers, "philox", refuse)
    step_reference(Step("momentum", [settings(**changes)]), [Job(torch.ones(9), torch.ones(9), [torch.ones(9)])])


def test_a_tensor_without_noise_draws_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_numbers, "philox", None)
    step_reference(Step("plain", [settings(temperature=1.0)]), [Job(torch.ones(9), torch.ones(9), noise=False)])
