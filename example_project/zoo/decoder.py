"""A Llama-style decoder: RMS norm, rotary positions, grouped-query attention, SwiGLU (Touvron et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers import scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


@dataclass(frozen=True)
class DecoderConfig:
    """The defaults are the sizes of Llama 3.1 8B.

    Attributes:
        vocabulary: number of token ids.
        hidden: size of the residual stream.
        feed_forward: hidden size of a feed-forward.
        layers: number of blocks.
        head_dim: size of one attention head; there are `hidden / head_dim` query heads.
        kv_heads: heads of keys and values, each shared by a group of query heads.
        rope_theta: base of the rotary frequencies.
        norm_eps: of the RMS norms.
    """

    vocabulary: int = 128_256
    hidden: int = 4096
    feed_forward: int = 14_336
    layers: int = 32
    head_dim: int = 128
    kv_heads: int = 8
    rope_theta: float = 500_000.0
    norm_eps: float = 1e-5

    @property
    def heads(self) -> int:
        """How many query heads there are."""
        return self.hidden // self.head_dim

    def widened(self, width: float) -> Self:
        """Return this configuration with `width` times the hidden sizes, in heads of the same size."""
        return replace(
            self,
            hidden=scaled(self.hidden, width, multiple_of=self.head_dim * self.kv_heads),
            feed_forward=scaled(self.feed_forward, width),
        )


def rotary_tables(length: int, config: DecoderConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosines and sines `(length, head_dim / 2)` of the angle of every position and frequency."""
    exponents = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles = positions[:, None] * config.rope_theta**-exponents
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate `x` `(..., length, head_dim)` by its positions, in pairs of its first and second half."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention in which groups of query heads share one head of keys and values."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.query = nn.Linear(config.hidden, config.heads * config.head_dim, bias=False)
        self.key = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.value = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.output = nn.Linear(config.heads * config.head_dim, config.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        query = rotate(self._split_heads(self.query(x)), cos, sin)
        key = rotate(self._split_heads(self.key(x)), cos, sin)
        value = self._split_heads(self.value(x))
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        y: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return y

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)


class SwiGLU(nn.Module):
    """A feed-forward whose hidden layer is gated by itself (Shazeer 2020)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.hidden, config.feed_forward, bias=False)
        self.up = nn.Linear(config.hidden, config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class Block(nn.Module):
    """Pre-norm attention and feed-forward, `(batch, length, hidden)` to the same."""

    def __init__(self, config: DecoderConfig, feed_forward: nn.Module) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden, eps=config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.RMSNorm(config.hidden, eps=config.norm_eps)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin)
        y: Tensor = self.feed_forward(self.feed_forward_norm(x))
        return x + y


class Decoder(nn.Module):
    """Token ids `(batch, length)` to logits of the next token `(batch, length, vocabulary)`."""

    def __init__(
        self,
        config: DecoderConfig = DecoderConfig(),
        feed_forward: Callable[[], nn.Module] | None = None,
    ) -> None:
        """Build the decoder of `config`; `feed_forward` makes one for each block, a `SwiGLU` if not given."""
        super().__init__()
        make_feed_forward = feed_forward or (lambda: SwiGLU(config))
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.hidden)
        self.blocks = nn.ModuleList(Block(config, make_feed_forward()) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden, eps=config.norm_eps)
        self.head = nn.Linear(config.hidden, config.vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        cos, sin = rotary_tables(tokens.shape[1], self.config, tokens.device)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits: Tensor = self.head(self.norm(x))
        return logits
