"""ViT-B/16 classifies and uses its class token and its positions.

Where the limits come from: torchvision publishes 86,567,656 parameters and 17.564 GMACs. By hand, for 196 patches and a
class token of size 768:

    patches     196 x 768 x (3 x 16 x 16)                                  =    115,605,504
    one block   197 x 768 x (3 x 768)     queries, keys and values         =    348,585,984
                2 x 197 x 197 x 768       scores, and values weighed       =     59,610,624
                197 x 768 x 768           output                           =    116,195,328
                2 x 197 x 768 x 3072      MLP                              =    929,562,624
    head        768 x 1000                                                 =        768,000
    in all      115,605,504 + 12 x 1,453,954,560 + 768,000                 = 17,563,828,224
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from zoo import ViT, ViTConfig


@pytest.fixture(scope="module")
def vit(width: float) -> ViT:
    return ViT(ViTConfig().widened(width)).eval()


@pytest.mark.modelbudget(params="87M", macs="18 GMACs")
class TestViTBase16:
    def test_an_image_gives_one_logit_a_class(self, vit: ViT, image: Tensor) -> None:
        with torch.no_grad():
            assert vit(image).shape == (1, 1000)

    def test_there_is_a_token_for_each_patch_and_the_class(self, vit: ViT, image: Tensor) -> None:
        with torch.no_grad():
            assert vit.embed(image).shape[:2] == (1, 14 * 14 + 1)

    def test_in_eval_the_same_image_gives_the_same_logits(self, vit: ViT, image: Tensor) -> None:
        with torch.inference_mode():
            torch.testing.assert_close(vit(image), vit(image))


def test_patches_are_not_a_bag(width: float) -> None:
    config = ViTConfig(image_size=64, layers=2).widened(width)
    model = ViT(config).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(model(image), model(image.flip(-1)))


def test_gradients_reach_every_parameter(width: float) -> None:
    model = ViT(ViTConfig(image_size=64, layers=2).widened(width))
    model(torch.randn(1, 3, 64, 64)).logsumexp(dim=1).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
