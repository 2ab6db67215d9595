"""Bottleneck residual networks (He et al. 2015), with the stride in the 3x3 convolution as everybody trains them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from zoo.layers import conv_norm, init_convolutions, scaled


@dataclass(frozen=True)
class ResNetConfig:
    """A bottleneck ResNet; the defaults are ResNet-50.

    Attributes:
        depths: blocks in each of the four stages.
        channels: inner channels of the first stage; every later stage doubles them.
        classes: size of the output.
    """

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    channels: int = 64
    classes: int = 1000

    def widened(self, width: float) -> ResNetConfig:
        """Return this configuration with `width` times the channels."""
        return replace(self, channels=scaled(self.channels, width))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, around a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.reduce = conv_norm(in_channels, channels, 1, activation=nn.ReLU)
        self.conv = conv_norm(channels, channels, 3, stride=stride, activation=nn.ReLU)
        self.expand = conv_norm(channels, out_channels, 1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv_norm(in_channels, out_channels, 1, stride=stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.shortcut(x) + self.expand(self.conv(self.reduce(x))))
        return y


def stage(in_channels: int, channels: int, depth: int, stride: int) -> nn.Sequential:
    """Return `depth` blocks, of which the first changes channels and resolution."""
    out_channels = channels * Bottleneck.expansion
    return nn.Sequential(
        Bottleneck(in_channels, channels, stride),
        *(Bottleneck(out_channels, channels) for _ in range(depth - 1)),
    )


class ResNet(nn.Module):
    """Images `(batch, 3, height, width)` to logits `(batch, classes)`."""

    def __init__(self, config: ResNetConfig = ResNetConfig()) -> None:
        super().__init__()
        width, out = config.channels, config.channels * Bottleneck.expansion
        self.stem = nn.Sequential(
            conv_norm(3, width, 7, stride=2, activation=nn.ReLU),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.layer1 = stage(width, width, config.depths[0], stride=1)
        self.layer2 = stage(out, 2 * width, config.depths[1], stride=2)
        self.layer3 = stage(2 * out, 4 * width, config.depths[2], stride=2)
        self.layer4 = stage(4 * out, 8 * width, config.depths[3], stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * out, config.classes)
        init_convolutions(self)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last feature map, at a 32nd of the resolution."""
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(images)))))
        return features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(self.forward_features(images)).flatten(1))
        return logits
