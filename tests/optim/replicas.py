"""What one process of a distributed run does; imported by the processes that test_seed.py spawns."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist

from qlangevin import SGLD

from .problems import make_problem


def train_replica(rank: int, world: int, folder: str) -> None:
    """Three noisy steps with a seed of the rank's own in torch, and none for the optimizer."""
    torch.manual_seed(1000 + rank)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        problem = make_problem(dtype=torch.bfloat16)
        optimizer = SGLD(problem.named(), 0.05, temperature=0.3, momentum=0.9)
        problem.run(optimizer, [1, 2, 3])
        torch.save({"seed": optimizer.param_groups[0]["seed"], "params": problem.values()}, Path(folder) / f"rank{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()
