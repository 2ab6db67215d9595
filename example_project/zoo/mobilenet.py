"""MobileNetV2 (Sandler et al. 2018): inverted residuals with linear bottlenecks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from zoo.layers import conv_norm, init_convolutions, scaled


class Stage(NamedTuple):
    """One row of the paper's table 2."""

    expansion: int
    channels: int
    depth: int
    stride: int


@dataclass(frozen=True)
class MobileNetV2Config:
    """The defaults are the paper's network at width 1.0.

    Attributes:
        stem: channels of the first convolution.
        stages: the table of inverted residuals.
        features: channels that the classifier reads.
        classes: size of the output.
        dropout: in front of the classifier.
    """

    stem: int = 32
    stages: tuple[Stage, ...] = (
        Stage(1, 16, 1, 1),
        Stage(6, 24, 2, 2),
        Stage(6, 32, 3, 2),
        Stage(6, 64, 4, 2),
        Stage(6, 96, 3, 1),
        Stage(6, 160, 3, 2),
        Stage(6, 320, 1, 1),
    )
    features: int = 1280
    classes: int = 1000
    dropout: float = 0.2

    def widened(self, width: float) -> MobileNetV2Config:
        """Return this configuration with `width` times the channels; the features never shrink, as in the paper."""
        return replace(
            self,
            stem=scaled(self.stem, width),
            stages=tuple(stage._replace(channels=scaled(stage.channels, width)) for stage in self.stages),
            features=scaled(self.features, max(1.0, width)),
        )


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project back; a shortcut where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion != 1:
            self.expand = conv_norm(in_channels, hidden, 1, activation=nn.ReLU6)
        self.depthwise = conv_norm(hidden, hidden, 3, stride=stride, groups=hidden, activation=nn.ReLU6)
        self.project = conv_norm(hidden, out_channels, 1)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_shortcut else y


class MobileNetV2(nn.Module):
    """Images `(batch, 3, height, width)` to logits `(batch, classes)`."""

    def __init__(self, config: MobileNetV2Config = MobileNetV2Config()) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = config.stem
        for stage in config.stages:
            for index in range(stage.depth):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, stage.channels, expansion=stage.expansion, stride=stride))
                channels = stage.channels
        self.stem = conv_norm(3, config.stem, 3, stride=2, activation=nn.ReLU6)
        self.blocks = nn.Sequential(*blocks)
        self.head = conv_norm(channels, config.features, 1, activation=nn.ReLU6)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.features, config.classes))
        init_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        features = self.pool(self.head(self.blocks(self.stem(images)))).flatten(1)
        logits: Tensor = self.classifier(features)
        return logits
