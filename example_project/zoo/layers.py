"""What several architectures share: widths that hardware likes, and a convolution with its norm."""

from __future__ import annotations

from torch import nn


def scaled(channels: int, width: float, multiple_of: int = 8) -> int:
    """Return `channels * width`, rounded to the nearest multiple of `multiple_of` and never to zero."""
    return max(multiple_of, round(channels * width / multiple_of) * multiple_of)


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    """Return a convolution that keeps the resolution (up to its stride), a batch norm and, if given, an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,  # the norm's shift takes its place
        ),
        nn.BatchNorm2d(out_channels),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def init_convolutions(model: nn.Module) -> None:
    """Initialise every convolution of `model` as He et al. 2015 do for rectified networks."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
