"""The uniformity by the paper's equation over distinct pairs, of embeddings of length 1."""

import losses
import torch
from torch.nn.functional import normalize


def uniformity(case, x):
    return (-case["t"] * torch.pdist(normalize(x)).square()).exp().mean().log()


def cases():
    for t in (2.0, 0.5, 5.0):
        for shape in ((2, 3), (4, 3), (5, 2), (6, 4)):
            yield {"input": losses.normal(*shape), "t": t}


losses.write(__file__, cases, uniformity, plain=True)
