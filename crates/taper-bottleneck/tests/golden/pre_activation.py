"""Pre-activation blocks by timm, with batch normalization and plain convolutions: two steps of training, then an evaluation."""

import golden
import torch
import training
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnetv2 import DownsampleAvg, DownsampleConv, PreActBasic, PreActBottleneck

LAYERS = {"norm_layer": BatchNormAct2d, "conv_layer": create_conv2d}
# timm rounds a middle to multiples of 8: these are 8 and more.
BLOCKS = {
    "block": (8, lambda: PreActBasic(8, 8, **LAYERS)),
    "block stride": (2, lambda: PreActBasic(2, 8, stride=2, proj_layer=DownsampleConv, **LAYERS)),
    "bottleneck": (8, lambda: PreActBottleneck(8, 8, bottle_ratio=1.0, **LAYERS)),
    "bottleneck stride": (
        2, lambda: PreActBottleneck(2, 16, bottle_ratio=0.5, stride=2, groups=4, proj_layer=DownsampleConv, **LAYERS)),
    "bottleneck pooled": (
        2, lambda: PreActBottleneck(2, 8, bottle_ratio=1.0, stride=2, groups=4, proj_layer=DownsampleAvg, **LAYERS)),
}


def case(name, channels, make):
    inputs = [training.sixteenths(torch.randn(2, channels, 4, 3)) for _ in range(3)]
    upstreams = [training.sixteenths(torch.randn(make()(x).shape)) for x in inputs]
    return training.case({"name": name}, make, inputs, upstreams)


torch.manual_seed(11)
golden.write(__file__, [case(name, *block) for name, block in BLOCKS.items()])
