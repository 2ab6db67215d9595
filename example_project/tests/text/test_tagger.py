"""The tagger tags every word, and padding stays outside.

Where the limits come from: an LSTM layer has 4h(i + h) weights and two biases of 4h for each direction, and multiplies
by each weight once a word. With h = 256:

                       parameters                                      MACs a word
    embedding          20,000 x 100                    = 2,000,000     0
    layer 0, i = 100   2 x (4 x 256 x 356 + 2,048)     =   733,184       729,088
    layer 1, i = 512   2 x (4 x 256 x 768 + 2,048)     = 1,576,960     1,572,864
    classifier         512 x 17 + 17                   =     8,721         8,704
    in all                                               4,318,865     2,310,656

A sentence of 32 words takes 32 x 2,310,656 = 73,940,992 MACs, 147,881,984 FLOPs.
"""

from __future__ import annotations

import pytest
import torch
from zoo import Tagger, TaggerConfig
from zoo.tagger import PADDING, lengths_of


@pytest.fixture(scope="module")
def tagger(width: float) -> Tagger:
    return Tagger(TaggerConfig().widened(width)).eval()


def sentences(*lengths: int, words: int = 32) -> torch.Tensor:
    """Return random sentences of these lengths, padded to `words`."""
    ids = torch.randint(1, TaggerConfig.vocabulary, (len(lengths), words))
    return ids.masked_fill(torch.arange(words) >= torch.tensor(lengths)[:, None], PADDING)


@pytest.mark.modelbudget(params="4.4M", macs="76 MMACs")
def test_every_word_gets_a_logit_a_tag(tagger: Tagger) -> None:
    with torch.no_grad():
        assert tagger(sentences(32)).shape == (1, 32, 17)


@pytest.mark.max_flops("152 MFLOPs", per="sample")
def test_a_batch_of_full_sentences_needs_no_lengths(tagger: Tagger) -> None:
    words = sentences(32, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(tagger(words), tagger(words, lengths_of(words)), rtol=1e-4, atol=1e-5)


def test_padding_does_not_reach_the_words(tagger: Tagger) -> None:
    words = sentences(32, 20, 7)
    with torch.no_grad():
        together = tagger(words, lengths_of(words))
        alone = tagger(words[2:, :7])
    torch.testing.assert_close(together[2:, :7], alone, rtol=1e-4, atol=1e-5)


def test_lengths_count_words() -> None:
    assert lengths_of(sentences(32, 20, 7)).tolist() == [32, 20, 7]


def test_the_future_is_read_too(tagger: Tagger) -> None:
    words = sentences(8, words=8)
    changed = words.clone()
    changed[0, -1] = words[0, -1] % (TaggerConfig.vocabulary - 1) + 1
    with torch.no_grad():
        assert not torch.allclose(tagger(words)[0, 0], tagger(changed)[0, 0], rtol=0, atol=0)


def test_gradients_reach_every_parameter(width: float) -> None:
    model = Tagger(TaggerConfig().widened(width)).train()
    words = sentences(32, 20)
    model(words, lengths_of(words)).logsumexp(dim=-1).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.max_flops("152 MFLOPs", inputs=["1,32:int64"])
def test_a_checkpoint_brings_back_every_weight(tagger: Tagger, width: float) -> None:
    restored = Tagger(TaggerConfig().widened(width))
    restored.load_state_dict(tagger.state_dict())
    assert all(map(torch.equal, restored.parameters(), tagger.parameters()))
