"""Blocks over points: MLP-Mixer's by timm, and the MLP bottleneck and adapter written in PyTorch."""

import golden
import torch
import training
from timm.models.mlp_mixer import MixerBlock


class MlpBottleneck(torch.nn.Module):
    def __init__(self, channels, reduction, activations, residual):
        super().__init__()
        width = channels // reduction
        self.fc1 = torch.nn.Linear(channels, width)
        self.fc2 = torch.nn.Linear(width, width)
        self.fc3 = torch.nn.Linear(width, channels)
        self.activations, self.residual = activations, residual

    def forward(self, x):
        y = x
        for layer, activation in zip((self.fc1, self.fc2, self.fc3), self.activations):
            y = activation(layer(y))
        return x + y if self.residual else y


class Adapter(torch.nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = torch.nn.Linear(channels, channels // reduction)
        self.up = torch.nn.Linear(channels // reduction, channels)

    def forward(self, x):
        return x + self.up(torch.nn.functional.gelu(self.down(x)))


def identity(x):
    return x


BLOCKS = {
    "mlp_bottleneck": lambda: MlpBottleneck(8, 4, [torch.relu] * 3, True),
    "mlp_bottleneck without": lambda: MlpBottleneck(8, 2, [torch.nn.functional.silu, torch.tanh, identity], False),
    "adapter": lambda: Adapter(8, 4),
    "mixer_block": lambda: MixerBlock(8, 5),
}


def cases():
    torch.manual_seed(7)
    for name, make in BLOCKS.items():
        shape = (3, 5, 8)
        inputs = [training.sixteenths(torch.randn(shape)) for _ in range(2)]
        upstreams = [training.sixteenths(torch.randn(shape)) for _ in range(2)]
        yield training.case({"name": name}, make, inputs, upstreams)


golden.write(__file__, list(cases()))
