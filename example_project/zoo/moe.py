"""A sparse mixture of experts in place of a feed-forward: top-k routing into experts of fixed capacity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.decoder import Decoder, DecoderConfig


@dataclass(frozen=True)
class MoEConfig(DecoderConfig):
    """A small decoder with eight experts a block, two of them for each token.

    Attributes:
        experts: experts in each block, each with a hidden size of `feed_forward`.
        top_k: how many experts a token goes to.
        capacity_factor: places in the experts, as a multiple of what a perfectly even routing needs.
    """

    vocabulary: int = 8000
    hidden: int = 512
    feed_forward: int = 1024
    layers: int = 2
    head_dim: int = 64
    kv_heads: int = 2
    experts: int = 8
    top_k: int = 2
    capacity_factor: float = 1.25


class MixtureOfExperts(nn.Module):
    """Send each token to the `top_k` SwiGLU experts that the router prefers, and mix what they answer.

    Every expert has the same number of places and works on all of them in one batched product, filled or not (GShard,
    Lepikhin et al. 2020; Switch, Fedus et al. 2021). A token that finds its expert full passes by on the residual
    connection. Shapes, and so the cost of a call, depend on the number of tokens alone: neither on the weights nor on
    how evenly the router happens to route them.
    """

    def __init__(self, config: MoEConfig) -> None:
        super().__init__()
        self.top_k = config.top_k
        self.places_per_token = config.capacity_factor * config.top_k / config.experts
        self.router = nn.Linear(config.hidden, config.experts, bias=False)
        self.gate = nn.Parameter(torch.empty(config.experts, config.hidden, config.feed_forward))
        self.up = nn.Parameter(torch.empty(config.experts, config.hidden, config.feed_forward))
        self.down = nn.Parameter(torch.empty(config.experts, config.feed_forward, config.hidden))
        for weight in (self.gate, self.up, self.down):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)
        experts, hidden = self.gate.shape[0], tokens.shape[1]
        capacity = math.ceil(self.places_per_token * tokens.shape[0])
        weights, choices = self.route(tokens)

        # A choice's place is its rank among the choices of its expert, in the order of the tokens; the ones that come
        # too late share the last place of all, which no expert reads and which answers zero.
        chosen = choices.flatten()
        ranks = F.one_hot(chosen, experts).cumsum(0).gather(1, chosen[:, None]).squeeze(1) - 1
        places = torch.where(ranks < capacity, chosen * capacity + ranks, experts * capacity)

        inputs = tokens.new_zeros(experts * capacity + 1, hidden)
        inputs[places] = tokens.repeat_interleave(self.top_k, dim=0)
        answers = self.run_experts(inputs[:-1].view(experts, capacity, hidden))
        answers = F.pad(answers.flatten(0, 1), (0, 0, 0, 1))

        answered = answers[places].view(-1, self.top_k, hidden)
        return torch.sum(answered * weights[..., None], dim=1).view_as(x)

    def route(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights and the numbers of the experts of each token, both `(tokens, top_k)`."""
        weights, choices = self.router(tokens).softmax(dim=-1).topk(self.top_k)
        return weights / weights.sum(-1, keepdim=True), choices

    def run_experts(self, inputs: Tensor) -> Tensor:
        """Run each expert on its own places, `(experts, capacity, hidden)` to the same."""
        return torch.bmm(F.silu(torch.bmm(inputs, self.gate)) * torch.bmm(inputs, self.up), self.down)


def moe_decoder(config: MoEConfig = MoEConfig()) -> Decoder:
    """Return a decoder whose feed-forwards are mixtures of experts."""
    return Decoder(config, feed_forward=lambda: MixtureOfExperts(config))
