"""Lennard-Jones clusters: the potential that the long study uses, and a short run of it for 13 atoms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from scipy.stats import fisher_exact
from torch import Tensor

from benchmarks.clusters import FLAT, GLOBAL_MINIMA, RADII, SUCCESS, count_successes, descend, draw_starts, energy, gradient
from benchmarks.lennard_jones import Study, anneal
from tests.tolerances import bound


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Many small operations: threads that wait for each other on a busy machine take longer than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


STUDY = Study(13, clusters=96, steps=4000, hot=0.5)


@cache
def starts() -> Tensor:
    """Local minima below random clusters."""
    return descend(draw_starts(STUDY.clusters, 13, seed=4), RADII[13])[0]


@cache
def energies(arm: str) -> Tensor:
    """Of the minima below where an arm ends."""
    ends = starts() if arm == "descent" else anneal(arm, STUDY, starts())
    return descend(descend(ends, RADII[13])[0])[1]


@pytest.mark.parametrize(("atoms", "bonds"), [(2, 1), (3, 3), (4, 6)])
def test_the_smallest_clusters_have_an_energy_of_minus_one_a_bond(atoms: int, bonds: int) -> None:
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)[:atoms] / math.sqrt(8)
    cluster = (corners * 2 ** (1 / 6))[None]
    assert math.isclose(float(energy(cluster)), -bonds, rel_tol=bound("closed_form"))
    assert float(gradient(cluster).abs().max()) < bound("closed_form")


@pytest.mark.parametrize("radius", [math.inf, 1.5])
def test_the_gradient_is_the_energy_s(radius: float) -> None:
    """With atoms nearer than the linear part's limit, and beyond the wall, among them."""
    cluster = draw_starts(8, 13, seed=2).requires_grad_()
    (wanted,) = torch.autograd.grad(energy(cluster, radius).sum(), cluster)
    assert float((gradient(cluster.detach(), radius) - wanted).abs().max() / wanted.abs().max()) < bound("closed_form")


def test_descent_ends_in_minima() -> None:
    ends, values = descend(starts())
    assert float(gradient(ends).abs().max()) < FLAT
    assert float(values.min()) > GLOBAL_MINIMA[13] - SUCCESS


@pytest.mark.parametrize("other", ["descent", "momentum 0.99"])
def test_cooling_the_momentum_finds_the_icosahedron(other: str) -> None:
    """The known minimum, and more often than descent or momentum that stays, by Fisher's exact test."""
    cooled = energies("linear")
    assert abs(float(cooled.min()) - GLOBAL_MINIMA[13]) < SUCCESS
    found, rare = (count_successes(values, 13) for values in (cooled, energies(other)))
    table = [[found, STUDY.clusters - found], [rare, STUDY.clusters - rare]]
    assert fisher_exact(table, alternative="greater").pvalue < bound("cooling_gain"), table
