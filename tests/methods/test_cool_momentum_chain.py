"""CoolMomentum on a x^2 / 2 and on a flat potential: temperatures, stability, diffusion, and torch.optim.SGD."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch.nn import Parameter

from qlangevin import CoolMomentum
from tests.tolerances import bound

from .replicas import Array, Replicas, check_covariance

REPLICAS = 30_000
MOMENTA = (0.0, 0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Chain:
    """lr, momentum and what heats it, on curvature a."""

    lr: float
    momentum: float
    curvature: float = 1.0
    temperature: float = 0.0
    grad_noise: float = 0.0

    @property
    def length(self) -> float:
        """What a gradient is multiplied with."""
        return self.lr * (1 + self.momentum) / 2

    @property
    def transition(self) -> Array:
        """Of (x, v): v' = rho v + l a x, x' = x - v'."""
        velocity = np.array([self.length * self.curvature, self.momentum])
        return np.array([[1.0, 0.0] - velocity, velocity])

    @property
    def covariance(self) -> Array:
        """Of (x, v), v being minus the displacement."""
        variance = (self.length * self.grad_noise) ** 2 + self.lr * self.temperature * (1 - self.momentum**2)
        entry = np.array([[-1.0], [1.0]])
        return np.asarray(solve_discrete_lyapunov(self.transition, variance * entry @ entry.T))

    @property
    def burn_in(self) -> int:
        """Steps after which the start is forgotten to less than e^-20 of the variance."""
        return math.ceil(-10 / math.log(abs(np.linalg.eigvals(self.transition)).max()))

    def start(self, x: torch.Tensor, **options: Any) -> Replicas:
        """The chain as an optimizer."""
        options = {"momentum": self.momentum, "temperature": self.temperature, "seed": 5, **options}
        return Replicas(lambda params: CoolMomentum(params, self.lr, **options), x, self.curvature, self.grad_noise)


SETTINGS = [(lr, momentum, curvature) for momentum in MOMENTA for lr, curvature in ((0.04, 1.0), (0.5, 3.0), (0.1, 38.0))]


@pytest.mark.parametrize(("lr", "rho", "a"), SETTINGS)
def test_the_closed_forms_are_the_chain_s(lr: float, rho: float, a: float) -> None:
    s = 1.7
    noisy = Chain(lr, rho, a, grad_noise=s)
    length = noisy.length
    of_x = lr * s**2 * (1 + rho) / (a * (1 - rho) * (4 - lr * a))
    of_velocity = 2 * length**2 * s**2 / ((1 - rho) * (2 * (1 + rho) - length * a))
    assert math.isclose(noisy.covariance[0, 0], of_x, rel_tol=bound("closed_form"))
    assert math.isclose(noisy.covariance[1, 1], of_velocity, rel_tol=bound("closed_form"))
    temperature = lr * s**2 * (1 + rho) / (4 * (1 - rho))
    warm = Chain(lr, rho, a, temperature=temperature)
    assert math.isclose(of_x, temperature / a / (1 - lr * a / 4), rel_tol=bound("closed_form"))
    assert np.allclose(warm.covariance, noisy.covariance, rtol=bound("closed_form"), atol=0.0)
    # The kinetic temperature is as far from T as the potential one is, whatever the momentum.
    assert math.isclose(of_velocity / lr, temperature / (1 - lr * a / 4), rel_tol=bound("closed_form"))


@pytest.mark.parametrize("heat", ["gradients", "thermostat"])
@pytest.mark.parametrize("rho", MOMENTA)
@pytest.mark.parametrize(("lr", "a"), [(0.5, 3.0), (0.1, 1.0)])
def test_the_chain_settles_at_its_law(lr: float, a: float, rho: float, heat: str) -> None:
    chain = Chain(lr, rho, a, **({"grad_noise": 1.3} if heat == "gradients" else {"temperature": 0.7}))
    run = chain.start(torch.zeros(REPLICAS))
    run.optimizer.collect_metrics()
    run.run(chain.burn_in)
    wanted = chain.covariance
    check_covariance(run.x, run.x, wanted)
    check_covariance(run.x, run.velocity, wanted, (0, 1))
    check_covariance(run.velocity, run.velocity, wanted, (1, 1))
    kinetic = float(run.optimizer.metrics().groups[0]["temperature"])
    assert math.isclose(kinetic, (run.velocity**2).mean() / lr, rel_tol=bound("metrics"))


@pytest.mark.parametrize("rho", MOMENTA)
@pytest.mark.parametrize("lr", [3.99, 4.01])
def test_it_is_stable_below_lr_a_4_whatever_the_momentum(lr: float, rho: float) -> None:
    chain = Chain(lr, rho)
    radius = abs(np.linalg.eigvals(chain.transition)).max()
    assert (radius < 1) == (lr < 4)
    steps = math.ceil(20 / abs(math.log(radius)))
    run = chain.start(torch.ones(8)).run(steps)
    size = math.hypot(float(run.x[0]), float(run.velocity[0]))
    assert size < math.exp(-10) if lr < 4 else size > math.exp(10)  # e^-20 or e^20 times a condition number


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_free_diffusion(rho: float) -> None:
    """MSD = 2 D n with D = lr^2 s^2 (1 + rho)^2 / (8 (1 - rho)^2) once the velocity's start is forgotten."""
    s, lr, first, second = 1.0, 0.1, 400, 800
    chain = Chain(lr, rho, curvature=0.0, grad_noise=s)
    run = chain.start(torch.zeros(REPLICAS))
    found = [float((run.run(first).x ** 2).mean()), float((run.run(second - first).x ** 2).mean())]
    diffusion = lr**2 * s**2 * (1 + rho) ** 2 / (8 * (1 - rho) ** 2)
    remembered = [((1 - rho ** np.arange(1, n + 1)) ** 2).sum() for n in (first, second)]  # of n draws, the ones still to act
    exact = [2 * diffusion * float(draws) for draws in remembered]
    assert math.isclose((exact[1] - exact[0]) / (second - first), 2 * diffusion, rel_tol=bound("closed_form"))
    for msd, wanted in zip(found, exact, strict=True):
        assert abs(msd / wanted - 1) < bound("z") * math.sqrt(2 / REPLICAS) + bound("discrete_chain")


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("rho", MOMENTA)
def test_constant_momentum_is_torch_sgd(rho: float, decay: float) -> None:
    """alpha = 1: SGD of lr (1 + rho) / 2, whose buffer times that is our velocity. A step from the twin's own state each time."""
    draw = torch.Generator().manual_seed(6)
    theirs, mine = (Parameter(torch.linspace(-2, 2, 50)) for _ in range(2))
    lr = 0.03
    length = lr * (1 + rho) / 2
    twin = torch.optim.SGD([theirs], length, momentum=rho, weight_decay=decay)
    ours = CoolMomentum([mine], lr, momentum=rho, weight_decay=decay)
    for step in range(200):
        grad = torch.randn(50, generator=draw)
        buffer = twin.state[theirs].get("momentum_buffer") if rho else None
        old = torch.zeros(50, dtype=torch.float64) if buffer is None else length * buffer.double()
        with torch.no_grad():
            mine.copy_(theirs)
            if step:
                ours.state[mine]["momentum_buffer"].copy_(old)
        terms = rho * old.abs() + length * (grad.double().abs() + decay * theirs.detach().double().abs())
        theirs.grad, mine.grad = grad.clone(), grad.clone()
        twin.step()
        ours.step()
        limit = bound("sgd_twin_param") * theirs.detach().double().abs() + bound("cool_twin") * terms
        assert bool(((mine - theirs).detach().double().abs() <= limit).all()), step
