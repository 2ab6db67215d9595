"""Vision Transformer (Dosovitskiy et al. 2020): patches as tokens, a class token that is read out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from zoo.layers import scaled


@dataclass(frozen=True)
class ViTConfig:
    """The defaults are ViT-B/16 at 224x224; `feed_forward` is the hidden size of the MLPs."""

    image_size: int = 224
    patch_size: int = 16
    layers: int = 12
    heads: int = 12
    hidden: int = 768
    feed_forward: int = 3072
    classes: int = 1000
    dropout: float = 0.0

    def widened(self, width: float) -> ViTConfig:
        """Return this configuration with `width` times the hidden sizes and as many heads."""
        return replace(
            self,
            hidden=scaled(self.hidden, width, multiple_of=self.heads),
            feed_forward=scaled(self.feed_forward, width),
        )

    @property
    def patches(self) -> int:
        """How many patches an image is cut into."""
        return (self.image_size // self.patch_size) ** 2


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and MLP, `(batch, tokens, hidden)` to the same."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden, eps=1e-6)
        self.attention = nn.MultiheadAttention(config.hidden, config.heads, dropout=config.dropout, batch_first=True)
        self.mlp_norm = nn.LayerNorm(config.hidden, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden, config.feed_forward),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feed_forward, config.hidden),
            nn.Dropout(config.dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.attention_norm(tokens)
        attended, _ = self.attention(normed, normed, normed, need_weights=False)
        tokens = tokens + attended
        mixed: Tensor = self.mlp(self.mlp_norm(tokens))
        return tokens + mixed


class ViT(nn.Module):
    """Images `(batch, 3, image_size, image_size)` to logits `(batch, classes)`."""

    def __init__(self, config: ViTConfig = ViTConfig()) -> None:
        super().__init__()
        self.patchify = nn.Conv2d(3, config.hidden, config.patch_size, stride=config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.hidden))
        self.positions = nn.Parameter(torch.empty(1, config.patches + 1, config.hidden))
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.Sequential(*(EncoderBlock(config) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.hidden, eps=1e-6)
        self.head = nn.Linear(config.hidden, config.classes)
        nn.init.normal_(self.positions, std=0.02)

    def embed(self, images: Tensor) -> Tensor:
        """Return the class token and the patches with their positions, `(batch, 1 + patches, hidden)`."""
        patches = self.patchify(images).flatten(2).transpose(1, 2)
        class_token = self.class_token.expand(images.shape[0], -1, -1)
        tokens: Tensor = self.dropout(torch.cat((class_token, patches), dim=1) + self.positions)
        return tokens

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.norm(self.encoder(self.embed(images)))
        logits: Tensor = self.head(tokens[:, 0])
        return logits
