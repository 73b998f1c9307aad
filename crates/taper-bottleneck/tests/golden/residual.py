"""ResNet's blocks by torchvision, and ConvNeXt's: two steps of training, then an evaluation."""

from functools import partial

import golden
import torch
import training
from torchvision.models.convnext import CNBlock
from torchvision.models.resnet import BasicBlock, Bottleneck


def projection(inputs, outputs, stride):
    conv = torch.nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return torch.nn.Sequential(conv, torch.nn.BatchNorm2d(outputs))


def pooled(inputs, outputs, stride):
    pool = torch.nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return torch.nn.Sequential(pool, *projection(inputs, outputs, 1))


def first(block):
    """Version 1: the stride moved from the 3x3 to the first 1x1."""
    block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    return block


groups = partial(torch.nn.GroupNorm, 2)
BLOCKS = {
    "basic_block": lambda: BasicBlock(3, 3),
    "basic_block stride": lambda: BasicBlock(2, 4, 2, projection(2, 4, 2)),
    "basic_block groups": lambda: BasicBlock(4, 4, norm_layer=groups),
    "bottleneck": lambda: Bottleneck(8, 2),
    "bottleneck stride": lambda: Bottleneck(4, 2, 2, projection(4, 8, 2)),
    "bottleneck first": lambda: first(Bottleneck(4, 2, 2, projection(4, 8, 2))),
    "bottleneck pooled": lambda: Bottleneck(4, 2, 2, pooled(4, 8, 2)),
    "bottleneck dilated": lambda: Bottleneck(8, 2, dilation=2),
    "bottleneck resnext": lambda: Bottleneck(8, 2, groups=4, base_width=64),
    "convnext_block": lambda: CNBlock(2, 0.5, 0.0),
}


def case(name, make):
    shape = (3, getattr(make(), "conv1", torch.nn.Conv2d(2, 2, 1)).in_channels, 4, 4)
    inputs = [training.sixteenths(torch.randn(shape)) for _ in range(3)]
    upstreams = [training.sixteenths(torch.randn(make()(x).shape)) for x in inputs]
    return training.case({"name": name}, make, inputs, upstreams)


torch.manual_seed(8)
golden.write(__file__, [case(name, make) for name, make in BLOCKS.items()])
