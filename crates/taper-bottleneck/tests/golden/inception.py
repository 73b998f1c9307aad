"""GoogLeNet's inception module by torchvision, and with the paper's 5x5; mlpconv written in PyTorch: two steps of training, then
an evaluation."""

import golden
import torch
import training
from torchvision.models.googlenet import Inception


def five(block):
    """With a 5x5 where torchvision has a 3x3."""
    block.branch3[1].conv = torch.nn.Conv2d(2, 2, 5, padding=2, bias=False)
    return block


def mlp_conv():
    layers = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Conv2d(3, 2, 1), torch.nn.Conv2d(2, 3, 1)
    return torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.ReLU())))


BLOCKS = {
    "inception": lambda: Inception(3, 2, 2, 3, 2, 2, 2),
    "inception five": lambda: five(Inception(3, 2, 2, 3, 2, 2, 2)),
    "mlp_conv": mlp_conv,
}


def case(name, make):
    inputs = [training.sixteenths(torch.randn(2, 3, 4, 3)) for _ in range(3)]
    upstreams = [training.sixteenths(torch.randn(make()(x).shape)) for x in inputs]
    return training.case({"name": name}, make, inputs, upstreams)


torch.manual_seed(10)
golden.write(__file__, [case(name, make) for name, make in BLOCKS.items()])
