"""Lennard-Jones clusters in reduced units: energy, forces, random starts, descent. Many clusters in one (clusters, atoms, 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Global minima: the Cambridge Cluster Database (Wales, Doye et al.); 13 is an icosahedron, 38 a truncated octahedron.
GLOBAL_MINIMA = {13: -44.326801, 38: -173.928427}
RADII = {13: 2.5, 38: 3.2}  # of the wall that keeps atoms together; the minima's atoms are within 1.1 and 2.0
WALL = 50.0
NEAREST = 0.5  # a squared distance; forces that grow without end at shorter ones would break any step
SUCCESS = 1e-3
MAX_STEP, FLAT, MEMORY = 0.4, 1e-4, 8  # of the descent


def squared_distances(positions: Tensor) -> Tensor:
    """Of all pairs of atoms, as (clusters, atoms, atoms); infinite on the diagonal, so that no atom acts on itself."""
    lengths = (positions * positions).sum(2)
    squares = torch.baddbmm(lengths[:, :, None] + lengths[:, None, :], positions, positions.mT, alpha=-2.0)
    squares.diagonal(dim1=1, dim2=2).fill_(math.inf)
    return squares


def energy(positions: Tensor, radius: float = math.inf) -> Tensor:
    """Pairs have 4 (r^-12 - r^-6), linear in r^2 below NEAREST; atoms beyond the wall WALL (|x| - radius)^2 / 2."""
    squares = squared_distances(positions)
    kept = squares.clamp(min=NEAREST)
    cubes = kept.pow(-3)
    below = (NEAREST - squares).clamp(min=0.0) * (6.0 * cubes - 3.0) * cubes / kept
    found = 2.0 * (cubes * cubes - cubes + below).sum((1, 2))
    if math.isfinite(radius):
        found += 0.5 * WALL * ((positions.norm(dim=2) - radius).clamp(min=0.0) ** 2).sum(1)
    return found


def gradient(positions: Tensor, radius: float = math.inf) -> Tensor:
    """Of the energy: the sum over pairs of (24 r^-8 - 48 r^-14) (x - y), and WALL (|x| - radius) x / |x| beyond the wall."""
    inverse = squared_distances(positions).clamp(min=NEAREST).reciprocal()
    cubes = inverse * inverse * inverse
    strength = (24.0 - 48.0 * cubes) * (cubes * inverse)
    found = positions * strength.sum(2, keepdim=True) - strength @ positions
    if math.isfinite(radius):
        distance = positions.norm(dim=2, keepdim=True)
        found += positions * (WALL * (1.0 - radius / distance).clamp(min=0.0))
    return found


def draw_starts(clusters: int, atoms: int, seed: int) -> Tensor:
    """Atoms uniform in the ball of the wall's radius, less half an atom."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(clusters, atoms, 3, generator=generator, dtype=torch.float64)
    radius = (RADII[atoms] - 0.5) * torch.rand(clusters, atoms, 1, generator=generator, dtype=torch.float64) ** (1 / 3)
    return direction / direction.norm(dim=2, keepdim=True) * radius


def descend(positions: Tensor, radius: float = math.inf, iterations: int = 1500) -> tuple[Tensor, Tensor]:
    """The local minimum below each cluster and its energy: L-BFGS in binary64, every cluster by itself.

    A step is at most MAX_STEP long; one that raises a cluster's energy is halved until it does not. Ends when every force is
    below FLAT, or after the iterations.
    """
    x = positions.double().flatten(1)
    shape = (len(x), -1, 3)
    value, slope = energy(x.view(shape), radius), gradient(x.view(shape), radius).flatten(1)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(iterations):
        if float(slope.abs().max()) < FLAT:
            break
        step = -apply_inverse(pairs, slope)
        step = torch.where((step * slope).sum(1, keepdim=True) < 0, step, -0.01 * slope)
        step = step * (MAX_STEP / step.norm(dim=1, keepdim=True)).clamp(max=1.0)
        for _ in range(20):
            ahead = energy((x + step).view(shape), radius)
            rises = ahead > value + 1e-12 * value.abs()
            if not bool(rises.any()):
                break
            step = torch.where(rises[:, None], 0.25 * step, step)
        x = x + step
        new = gradient(x.view(shape), radius).flatten(1)
        change, value, slope = new - slope, ahead, new
        bend = (change * step).sum(1, keepdim=True)
        pairs = [*pairs[-MEMORY + 1 :], (step, change, torch.where(bend > 1e-14, 1.0 / bend, 0.0))]
    return x.view(shape), energy(x.view(shape), radius)


def apply_inverse(pairs: list[tuple[Tensor, Tensor, Tensor]], slope: Tensor) -> Tensor:
    """The inverse Hessian that the last steps and changes of the slope tell, applied to the slope (Nocedal's two loops)."""
    direction, shares = slope, []
    for step, change, inverse in reversed(pairs):
        shares.append(inverse * (step * direction).sum(1, keepdim=True))
        direction = direction - shares[-1] * change
    scale: Tensor | float = 1e-2
    if pairs:
        _, change, inverse = pairs[-1]
        scale = 1.0 / (inverse * (change * change).sum(1, keepdim=True)).clamp(min=1.0)
    direction = direction * scale
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        direction = direction + (share - inverse * (change * direction).sum(1, keepdim=True)) * step
    return direction


def count_successes(energies: Tensor, atoms: int) -> int:
    """How many are at the global minimum."""
    return int((energies < GLOBAL_MINIMA[atoms] + SUCCESS).sum())
