"""Inverted residual, fire module and squeeze-and-excitation by torchvision, SE-ResNet's blocks by timm: two steps of training,
then an evaluation."""

from functools import partial

import golden
import torch
import training
from timm.layers import SEModule
from timm.models import resnet
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.squeezenet import Fire
from torchvision.ops import SqueezeExcitation

gate = partial(SEModule, rd_channels=2)
BLOCKS = {
    "inverted_residual": (2, lambda: InvertedResidual(2, 2, 1, 2)),
    "inverted_residual stride": (2, lambda: InvertedResidual(2, 3, 2, 2)),
    "inverted_residual unexpanded": (3, lambda: InvertedResidual(3, 3, 1, 1)),
    "fire": (3, lambda: Fire(3, 2, 2, 3)),
    "squeeze_excite": (4, lambda: SqueezeExcitation(4, 2)),
    "basic_block gated": (4, lambda: resnet.BasicBlock(4, 4, attn_layer=gate)),
    "bottleneck gated": (8, lambda: resnet.Bottleneck(8, 2, attn_layer=partial(SEModule, rd_channels=4))),
}


def case(name, channels, make):
    inputs = [training.sixteenths(torch.randn(2, channels, 4, 3)) for _ in range(3)]
    upstreams = [training.sixteenths(torch.randn(make()(x).shape)) for x in inputs]
    return training.case({"name": name}, make, inputs, upstreams)


torch.manual_seed(9)
golden.write(__file__, [case(name, *block) for name, block in BLOCKS.items()])
