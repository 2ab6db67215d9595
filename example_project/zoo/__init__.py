"""Reference architectures in plain PyTorch, each built from a frozen configuration."""

from zoo.decoder import Decoder, DecoderConfig
from zoo.mobilenet import MobileNetV2, MobileNetV2Config
from zoo.moe import MoEConfig, moe_decoder
from zoo.resnet import ResNet, ResNetConfig
from zoo.tagger import Tagger, TaggerConfig
from zoo.vit import ViT, ViTConfig

__all__ = [
    "Decoder",
    "DecoderConfig",
    "MoEConfig",
    "MobileNetV2",
    "MobileNetV2Config",
    "ResNet",
    "ResNetConfig",
    "Tagger",
    "TaggerConfig",
    "ViT",
    "ViTConfig",
    "moe_decoder",
]
