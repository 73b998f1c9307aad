"""The alignment by the paper's equation, of embeddings of length 1."""

import losses
from torch.nn.functional import normalize


def alignment(case, x):
    first, second = losses.both(case, x)
    return (normalize(first) - normalize(second)).norm(dim=1).pow(case["alpha"])


def cases():
    for alpha in (2.0, 1.0, 3.0):
        yield from losses.view_cases(((3, 2), (4, 3)), rounds=6, alpha=alpha)


losses.write(__file__, cases, alignment)
