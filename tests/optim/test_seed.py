"""The seed of a run: torch's initial seed, rank 0's where there are ranks, saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from qlangevin import SGLD

from .problems import make_problem
from .replicas import train_replica
from .snapshots import assert_same


def make_unseeded() -> SGLD:
    return SGLD(make_problem().named(), 0.1, temperature=1.0)


def test_none_is_torch_s_initial_seed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(123)
        torch.rand(5)
        optimizer = make_unseeded()
        assert optimizer.param_groups[0]["seed"] == 123
        torch.manual_seed(2**64 - 5)
        assert make_unseeded().param_groups[0]["seed"] == 2**64 - 5
    assert optimizer.state_dict()["param_groups"][0]["seed"] == 123


def test_a_given_seed_is_kept() -> None:
    optimizer = SGLD(make_problem().named(), 0.1, temperature=1.0, seed=2**64 - 1)
    assert optimizer.param_groups[0]["seed"] == 2**64 - 1


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="this torch has no gloo")
def test_ranks_share_the_seed_of_rank_0_and_its_noise(tmp_path: Path) -> None:
    multiprocessing.spawn(train_replica, args=(2, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["seed"] == second["seed"] == 1000
    assert_same(first["params"], second["params"])
    alone = make_problem(dtype=torch.bfloat16)
    alone.run(SGLD(alone.named(), 0.05, temperature=0.3, momentum=0.9, seed=1000), [1, 2, 3])
    assert_same(alone.values(), first["params"])
