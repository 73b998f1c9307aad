"""Batch renormalization by algorithm 1 of Ioffe 2017 in PyTorch's f64, with the errors of its own f32: training
steps, whose limits a schedule may change, and an evaluation.

Keras has the layer (`BatchNormalization(renorm=True)`) and is asked for every output and state, but only up to f32:
its `minimum` and `maximum` round f64 to that.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

import golden
import keras
import torch
import training
from training import sixteenths

EPS = 1e-3
STEPS = 3
# Shape, momentum in Keras's convention, r_max and d_max of each step, and the ramps that give them.
CASES = [
    ((6, 3), 0.9, [(1.5, 0.5)] * STEPS, None),
    ((3, 2, 4), 0.5, [(1.0, 0.0)] * STEPS, None),
    ((2, 2, 2, 3), 0.75, [(9.0, 9.0)] * STEPS, None),
    ((5, 4), 0.9, [(1.0, 0.25), (1.0, 0.5), (1.75, 0.75)], [1.0, 2.5, 1, 3, 0.25, 1.25, 0, 4]),
]


class Renorm(torch.nn.Module):
    """The layer on PyTorch's state, running_var being the square of the paper's sigma without epsilon."""

    def __init__(self, features, momentum, limits):
        super().__init__()
        self.momentum, self.limits = momentum, limits
        self.weight = torch.nn.Parameter(torch.ones(features))
        self.bias = torch.nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x):
        along = lambda values: values.reshape(-1, *[1] * (x.dim() - 2))
        mean, std = self.running_mean.clone(), (self.running_var + EPS).sqrt()
        if not self.training:
            y = along(self.weight) * (x - along(mean)) / along(std) + along(self.bias)
            self.compare(x, mean, std, None, y)
            return y
        r_max, d_max = self.limits[self.num_batches_tracked]
        axes = [axis for axis in range(x.dim()) if axis != 1]
        batch_mean = x.mean(axes)
        batch_std = (EPS + (x - along(batch_mean)).square().mean(axes)).sqrt()
        with torch.no_grad():
            r = (batch_std / std).clamp(1 / r_max, r_max)
            d = ((batch_mean - mean) / std).clamp(-d_max, d_max)
            self.running_mean += (1 - self.momentum) * (batch_mean - mean)
            self.running_var.copy_((std + (1 - self.momentum) * (batch_std - std)).square() - EPS)
            self.num_batches_tracked += 1
        normal = (x - along(batch_mean)) / along(batch_std) * along(r) + along(d)
        y = along(self.weight) * normal + along(self.bias)
        self.compare(x, mean, std, (r_max, d_max), y)
        return y

    @torch.no_grad()
    def compare(self, x, mean, std, limits, y):
        """With Keras's output and state, from the state before."""
        r_max, d_max = limits or (1.0, 0.0)
        layer = keras.layers.BatchNormalization(
            axis=1, momentum=self.momentum, epsilon=EPS, renorm=True, renorm_momentum=self.momentum,
            renorm_clipping={"rmax": r_max, "rmin": 1 / r_max, "dmax": d_max},
        )
        layer.build(x.shape)
        names = [variable.name for variable in layer.non_trainable_variables]
        state = {
            "moving_mean": mean, "moving_variance": std.square() - EPS, "moving_stddev": std,
            "renorm_mean": mean, "renorm_stddev": std,
        }
        state = [state[name].float() for name in names]
        found, after = layer.stateless_call(
            [self.weight.float(), self.bias.float()], state, x.float(), training=limits is not None
        )
        after = dict(zip(names, after))
        torch.testing.assert_close(found, y.float(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after["moving_mean"], self.running_mean.float(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(after["moving_variance"], self.running_var.float(), rtol=1e-5, atol=1e-6)


def cases():
    torch.manual_seed(8)
    for shape, momentum, limits, ramps in CASES:
        draw = lambda: [sixteenths(2 * torch.randn(shape) + 1) for _ in range(STEPS + 1)]
        entries = {
            "name": f"{list(shape)} {limits}", "eps": EPS, "decay": momentum, "r_max": limits[0][0],
            "d_max": limits[0][1], "ramps": ramps,
        }
        yield training.case(entries, lambda: Renorm(shape[1], momentum, limits), draw(), draw())


golden.write(__file__, list(cases()))
