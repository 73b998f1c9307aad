"""The sparsity penalty by PyTorch's divergence of Bernoulli distributions."""

import losses
import torch
from torch.distributions import Bernoulli, kl_divergence


def sparsity(case, x):
    rho = torch.tensor(case["rho"], dtype=x.dtype)
    return kl_divergence(Bernoulli(rho), Bernoulli(x.mean(0))).sum()


def cases():
    for rho in (0.05, 0.2, 0.7):
        for shape in losses.SHAPES * 2:
            # Single activations may be 0 or 1, no mean is.
            yield {"rho": rho, "input": losses.uniform(*shape).clamp(*((1 / 16, 15 / 16) if shape[0] < 4 else (0, 1)))}


losses.write(__file__, cases, sparsity)
