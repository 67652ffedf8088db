"""A small GPT over bytes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 256
CONTEXT = 64
_WIDTH, _HEADS, _LAYERS = 64, 4, 2
_INITIAL_DEVIATION = 0.02  # GPT-2's


class DecoderBlock(nn.Module):
    """Causal attention and a feed-forward network, each behind a layer norm and beside a shortcut.

    Args:
        width: of the residual stream.
        heads: of the attention; they share the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        """Map (N, L, width) to the same shape; position l sees the positions up to l."""
        count, length, width = stream.shape
        parts = self.queries_keys_values(self.norm1(stream)).view(count, length, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        stream = stream + self.mix(seen.transpose(1, 2).reshape(count, length, width))
        output: Tensor = stream + self.narrow(F.gelu(self.widen(self.norm2(stream))))
        return output


class GPT(nn.Module):
    """A decoder of two layers over bytes: 119,000 parameters; the output layer is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, _WIDTH)
        self.positions = nn.Embedding(CONTEXT, _WIDTH)
        self.blocks = nn.Sequential(*(DecoderBlock(_WIDTH, _HEADS) for _ in range(_LAYERS)))
        self.norm = nn.LayerNorm(_WIDTH)
        for name, param in self.named_parameters():
            if param.dim() == 2:
                # As in GPT-2: what adds to the residual stream is smaller, so that the stream does not grow with depth.
                adds = name.endswith(("mix.weight", "narrow.weight"))
                nn.init.normal_(param, 0.0, _INITIAL_DEVIATION / (math.sqrt(2 * _LAYERS) if adds else 1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, L) int64 bytes, L <= CONTEXT, to (N, L, 256) fp32 scores of each next byte."""
        stream = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        return F.linear(self.norm(self.blocks(stream)), self.embedding.weight)


def build_gpt(seed: int) -> GPT:
    """Build the model; the same seed gives the same initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT()
