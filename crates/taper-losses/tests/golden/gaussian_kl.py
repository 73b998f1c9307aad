"""The divergence of Gaussians by PyTorch's distributions, with the gradient to each of their parameters."""

import itertools

import losses
import torch
from torch.distributions import Independent, Normal, kl_divergence

NAMES = ("mean", "log_variance", "prior_mean", "prior_log_variance")


def gaussian(mean, log_variance):
    return Independent(Normal(mean, (log_variance / 2).exp()), 1)


def divergence(case, x):
    given = [x if name == case["argument"] else case.get(name) for name in NAMES]
    prior = given[2:] if case["has_prior"] else [torch.zeros_like(x)] * 2
    return kl_divergence(gaussian(*given[:2]), gaussian(*prior))


def cases():
    arguments = [(name, has_prior) for has_prior in (False, True) for name in NAMES[:4 if has_prior else 2]]
    for (argument, has_prior), shape in itertools.product(arguments, ((4, 3), (2, 3, 2), (5, 1))):
        given = {name: losses.normal(*shape) for name in NAMES[:4 if has_prior else 2]}
        yield {"argument": argument, "has_prior": has_prior, "input": given.pop(argument)} | given


losses.write(__file__, cases, divergence)
