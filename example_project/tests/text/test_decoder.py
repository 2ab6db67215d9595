"""The Llama-style decoder: real size on `meta`, where it takes no memory, and its properties on a small one.

Where the limits come from: Llama 3.1 8B has 8,030,261,248 parameters. By hand, for hidden size 4096, 32 heads of 128,
8 heads of keys and values, feed-forward 14,336, 32 blocks, 128,256 token ids:

    weights of a block   2 x 4096 x 4096 + 2 x 4096 x 1024 + 3 x 4096 x 14,336    =       218,103,808
    parameters           2 x 128,256 x 4096 + 32 x (218,103,808 + 2 x 4096) + 4096 =     8,030,261,248
    size in bfloat16     2 x 8,030,261,248 bytes                                   =    16,060,522,496
    MACs of 128 tokens   128 x (32 x 218,103,808 + 4096 x 128,256)
                         + 32 blocks x 32 heads x 128 x 128 x (128 + 128)          =   964,891,246,592
    FLOPs                                                                          = 1,929,782,493,184
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from zoo import Decoder, DecoderConfig
from zoo.decoder import Attention, rotary_tables


@pytest.fixture(scope="module")
def llama(width: float) -> Decoder:
    with torch.device("meta"):
        return Decoder(DecoderConfig().widened(width)).bfloat16().eval()


@pytest.fixture
def small(width: float) -> Decoder:
    config = DecoderConfig(vocabulary=100, hidden=64, feed_forward=128, layers=2, head_dim=16, kv_heads=2)
    return Decoder(config.widened(width)).eval()


@pytest.mark.max_params("8.1B")
@pytest.mark.max_size("16.5 GB")
@pytest.mark.max_flops("1.95 TFLOPs")
def test_every_token_gets_a_logit_a_word(llama: Decoder) -> None:
    with torch.no_grad():
        assert llama(torch.zeros(1, 128, dtype=torch.int64, device="meta")).shape == (1, 128, 128_256)


def test_later_tokens_do_not_change_earlier_logits(small: Decoder) -> None:
    tokens = torch.randint(100, (1, 12))
    changed = tokens.clone()
    changed[0, 8:] = (tokens[0, 8:] + 1) % 100
    with torch.no_grad():
        before, after = small(tokens), small(changed)
    torch.testing.assert_close(before[0, :8], after[0, :8])
    assert not torch.allclose(before[0, 8:], after[0, 8:])


def test_shared_heads_are_heads_repeated(small: Decoder) -> None:
    config = small.config
    grouped = Attention(config)
    full = Attention(replace(config, kv_heads=config.heads))
    weights = grouped.state_dict()
    for name in ("key.weight", "value.weight"):
        heads = weights[name].view(config.kv_heads, config.head_dim, config.hidden)
        weights[name] = heads.repeat_interleave(config.heads // config.kv_heads, dim=0).flatten(0, 1)
    full.load_state_dict(weights)

    x = torch.randn(1, 6, config.hidden)
    tables = rotary_tables(6, config, x.device)
    with torch.no_grad():
        torch.testing.assert_close(grouped(x, *tables), full(x, *tables))


def test_the_order_of_tokens_matters(small: Decoder) -> None:
    tokens = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        assert not torch.allclose(small(tokens)[0, -1], small(tokens[:, [1, 0, 2, 3]])[0, -1])


def test_gradients_reach_every_parameter(small: Decoder) -> None:
    small.train()(torch.randint(100, (2, 12))).logsumexp(dim=-1).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())
