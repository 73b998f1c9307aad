"""torch.nn.init.orthogonal_ and scipy.stats.truncnorm on given draws from the normal distribution."""

import golden
import numpy
import torch
from scipy.stats import norm, truncnorm

rng = numpy.random.default_rng(20)


def normal(shape):
    """Draws that f32 holds."""
    return rng.standard_normal(shape, dtype=numpy.float32).astype(numpy.float64)


def orthogonal(shape, gain):
    draws = normal(shape)
    # The function draws its own matrix; it is given this one.
    original = torch.Tensor.normal_
    torch.Tensor.normal_ = lambda self, *_, **__: self.copy_(torch.tensor(draws).view_as(self))
    values = torch.nn.init.orthogonal_(torch.empty(shape, dtype=torch.float64), gain)
    torch.Tensor.normal_ = original
    return {
        "initializer": "orthogonal",
        "gain": gain,
        "draws": golden.tensor(draws),
        "values": golden.tensor(values),
    }


def truncated_normal(mean, std, low, high, shape=(5, 6)):
    draws = normal(shape)
    # From the nearer end: norm.cdf(6) has 8 digits of what is above.
    law = truncnorm((low - mean) / std, (high - mean) / std, loc=mean, scale=std)
    values = numpy.where(draws < 0, law.ppf(norm.cdf(draws)), law.isf(norm.sf(draws)))
    return {
        "initializer": "truncated_normal",
        "mean": mean,
        "std": std,
        "low": low,
        "high": high,
        "draws": golden.tensor(draws),
        "values": golden.tensor(values),
    }


infinity = float("inf")
golden.write(
    __file__,
    [
        orthogonal((7, 4), 1.0),
        orthogonal((4, 7), 2.0**0.5),
        orthogonal((6, 6), -0.5),
        orthogonal((5, 2, 3, 3), 1.0),
        orthogonal((20, 2, 3), 1.0),
        orthogonal((1, 1), 3.0),
        truncated_normal(0.0, 1.0, -2.0, 2.0),
        truncated_normal(0.1, 0.5, -0.4, 1.6),
        truncated_normal(0.0, 0.02, -2.0, 2.0),
        truncated_normal(1.0, 2.0, 4.0, 5.0),
        truncated_normal(1.0, 2.0, -infinity, -9.0),
        truncated_normal(0.0, 1.0, 20.0, infinity),
        truncated_normal(-1.0, 3.0, -1.0, infinity),
        truncated_normal(0.0, 10.0, -1e-3, 1e-3),
    ],
)
