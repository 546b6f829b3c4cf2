"""Muon for the matrices inside the layers, AdamW for everything else."""

from collections import defaultdict

import torch


class Muon:
    """Momentum whose step is made orthogonal by Newton-Schulz iterations (Jordan et al., 2024)."""

    def __init__(self, matrices, rate: float, momentum: float = 0.95, decay: float = 0.05):
        by_shape = defaultdict(list)
        for matrix in matrices:
            by_shape[tuple(matrix.shape)].append(matrix)
        self.groups = [(group, torch.zeros(len(group), *shape)) for shape, group in by_shape.items()]
        self.rate, self.momentum, self.decay = rate, momentum, decay

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One step at `scale` times the base rate."""
        rate = self.rate * scale
        for matrices, velocity in self.groups:
            gradient = torch.stack([matrix.grad for matrix in matrices])
            velocity.mul_(self.momentum).add_(gradient)
            update = orthogonal(gradient.add(velocity, alpha=self.momentum))
            rows, columns = matrices[0].shape
            stretch = max(1.0, rows / columns) ** 0.5
            for matrix, direction in zip(matrices, update):
                matrix.mul_(1 - rate * self.decay).add_(direction, alpha=-rate * stretch)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """About the nearest orthogonal matrix to each, by five Newton-Schulz steps."""
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x.bfloat16()
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Optimizer:
    """Both optimizers under one schedule: a short warm-up, a plateau, a linear end."""

    def __init__(self, parameters, matrices, rate=1e-3, muon_rate=0.02, clip=1.0):
        self.parameters = list(parameters)
        inner = {id(matrix) for group, _ in matrices for matrix in group}
        others = [p for p in self.parameters if id(p) not in inner]
        self.muons = [Muon(group, muon_rate * factor) for group, factor in matrices]
        self.adam = torch.optim.AdamW(
            [
                {"params": [p for p in others if p.ndim >= 2], "weight_decay": 0.05},
                {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.rate, self.clip, self.steps = rate, clip, 0

    def step(self, loss: torch.Tensor, progress: float) -> None:
        """One step; `progress` runs from 0 to 1 over the training."""
        self.steps += 1
        scale = min(1.0, self.steps / 30) * min(1.0, (1 - progress) / 0.45 + 0.003)
        self.adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for group in self.adam.param_groups:
            group["lr"] = self.rate * scale
        self.adam.step()
        for muon in self.muons:
            muon.step(scale)
