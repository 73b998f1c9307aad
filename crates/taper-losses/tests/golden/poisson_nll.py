"""The Poisson negative log-likelihood by PyTorch."""

import itertools

import losses
import torch
from torch.nn.functional import poisson_nll_loss


def poisson_nll(case, x):
    return poisson_nll_loss(x, case["target"], log_input=case["log_input"], full=case["full"], eps=case["eps"],
                            reduction="none")


def cases():
    for log_input, full, eps in itertools.product((True, False), (True, False), (1e-8, 0.125)):
        for shape in losses.SHAPES:
            x = losses.normal(*shape) if log_input else losses.uniform(*shape, low=0.125, high=5)
            yield {"log_input": log_input, "full": full, "eps": eps, "input": x,
                   "target": torch.randint(5, shape).float()}


losses.write(__file__, cases, poisson_nll)
