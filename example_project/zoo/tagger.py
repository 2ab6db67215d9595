"""A bidirectional LSTM that gives every word of a sentence a tag (Huang, Xu and Yu 2015, without the CRF)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo.layers import scaled

PADDING = 0
"""The word id that fills short sentences."""


@dataclass(frozen=True)
class TaggerConfig:
    """Sizes of the tagger.

    Attributes:
        vocabulary: number of word ids, padding included.
        embedding: size of a word vector; 100 is GloVe's.
        hidden: size of the state of one direction.
        layers: stacked bidirectional layers.
        tags: number of tags; 17 is Universal Dependencies'.
        dropout: between the layers and around them.
    """

    vocabulary: int = 20_000
    embedding: int = 100
    hidden: int = 256
    layers: int = 2
    tags: int = 17
    dropout: float = 0.3

    def widened(self, width: float) -> TaggerConfig:
        """Return this configuration with `width` times the hidden size; word vectors come as they are."""
        return replace(self, hidden=scaled(self.hidden, width))


class Tagger(nn.Module):
    """Word ids `(batch, words)` to logits `(batch, words, tags)`."""

    def __init__(self, config: TaggerConfig = TaggerConfig()) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=PADDING)
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = nn.LSTM(
            config.embedding,
            config.hidden,
            num_layers=config.layers,
            dropout=config.dropout,
            bidirectional=True,
            batch_first=True,
        )
        self.classifier = nn.Linear(2 * config.hidden, config.tags)

    def forward(self, words: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tag every word; with `lengths` `(batch,)`, what lies behind a sentence's end does not reach into it."""
        embedded = self.dropout(self.embedding(words))
        states = self.lstm(embedded)[0] if lengths is None else self._run_packed(embedded, lengths)
        logits: Tensor = self.classifier(self.dropout(states))
        return logits

    def _run_packed(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        packed_states, _ = self.lstm(packed)
        states, _ = pad_packed_sequence(packed_states, batch_first=True, total_length=embedded.shape[1])
        return states


def lengths_of(words: Tensor) -> Tensor:
    """Return how many words of each sentence `(batch, words)` are not padding."""
    return torch.sum(words != PADDING, dim=1)
