"""The mixture of experts routes as it says and costs the same however it routes.

Where the limits come from, for hidden size 512, 8 heads of 64 of which 2 for keys and values, 8 experts of hidden size
1024, 2 blocks, 8000 token ids:

    attention     2 x 512 x 512 + 2 x 512 x 128                                     =    655,360 weights
    experts       8 x 512 router, 8 x 3 x 512 x 1024                                = 12,587,008 weights
    parameters    2 x 8000 x 512 + 2 x (655,360 + 12,587,008 + 2 x 512) + 512       = 34,679,296

64 tokens and 2 experts each make 128 choices, 16 for each of 8 experts, 25 % of room on top: 20 places.

    feed-forward  64 x 512 x 8 router + 8 x 20 x 3 x 512 x 1024                     = 251,920,384 MACs
    a call        2 x (64 x 655,360 + 8 x 64 x 64 x (64 + 64) + 251,920,384)
                  + 64 x 512 x 8000                                                 = 858,259,456 MACs
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from zoo import Decoder, MoEConfig, moe_decoder
from zoo.moe import MixtureOfExperts


@pytest.fixture(scope="module")
def moe(width: float) -> Decoder:
    return moe_decoder(MoEConfig().widened(width)).eval()


@pytest.mark.modelbudget(params="36M", macs="0.88 GMACs")
@pytest.mark.max_macs("0.26 GMACs", module="blocks.*.feed_forward")
def test_every_token_gets_a_logit_a_word(moe: Decoder) -> None:
    with torch.no_grad():
        assert moe(torch.randint(8000, (1, 64))).shape == (1, 64, 8000)


def dense_reference(layer: MixtureOfExperts, x: Tensor) -> Tensor:
    """Run every expert on every token and keep what the router chose."""
    every_token = x.flatten(0, 1).expand(layer.gate.shape[0], -1, -1)
    answers = layer.run_experts(every_token)
    weights, choices = layer.route(x.flatten(0, 1))
    mixing = F.one_hot(choices, layer.gate.shape[0]) * weights[..., None]
    return torch.einsum("tke,eth->th", mixing, answers).view_as(x)


def test_with_room_for_all_it_is_the_mixture_that_the_router_chose(width: float) -> None:
    config = replace(MoEConfig(), capacity_factor=4.0).widened(width)  # 4 x 2 / 8: each expert could take every token
    layer = MixtureOfExperts(config)
    x = torch.randn(2, 8, config.hidden)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), dense_reference(layer, x), rtol=1e-4, atol=1e-5)


def test_a_full_expert_lets_late_tokens_pass(width: float) -> None:
    config = replace(MoEConfig(), top_k=1, capacity_factor=1.0).widened(width)
    layer = MixtureOfExperts(config)
    x = torch.randn(1, 1, config.hidden).expand(1, 16, -1)  # all alike: they all choose the same expert, of two places
    with torch.no_grad():
        y = layer(x)
    assert y[0, :2].abs().sum() > 0
    assert torch.equal(y[0, 2:], torch.zeros_like(y[0, 2:]))


def test_gradients_reach_the_router_and_every_expert(width: float) -> None:
    config = MoEConfig().widened(width)
    layer = MixtureOfExperts(config)
    layer(torch.randn(1, 64, config.hidden)).square().sum().backward()
    assert layer.router.weight.grad is not None
    assert layer.gate.grad is not None
    assert torch.all(layer.gate.grad.flatten(1).abs().sum(1) > 0)
