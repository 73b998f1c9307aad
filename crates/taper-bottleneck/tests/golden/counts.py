"""What torchvision's networks cost for an image of 224x224: parameters, MACs as half of torch's own FLOPs (which are those of
convolutions and products of matrices), and the names and shapes of their state dicts."""

import hashlib

import golden
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

NAMES = [
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2",
    "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn",
    "squeezenet1_1", "mobilenet_v2",
    "convnext_tiny", "convnext_small", "convnext_base", "convnext_large",
]


def count(name, build):
    with torch.device("meta"):
        network = build().eval()
        with FlopCounterMode(display=False) as flops:
            network(torch.zeros(1, 3, 224, 224))
    lines = sorted(f"{entry} {list(values.shape)}" for entry, values in network.state_dict().items())
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": flops.get_total_flops() // 2,
        "entries": len(lines),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def cases():
    for name in NAMES:
        yield count(name, getattr(torchvision.models, name))
    # Widths that rounding to multiples of 8 changes.
    for width in [0.35, 0.5, 0.75, 1.4]:
        yield count(f"mobilenet_v2 {width}", lambda: torchvision.models.mobilenet_v2(width_mult=width))


golden.write(__file__, list(cases()))
