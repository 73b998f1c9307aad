"""The maximum mean discrepancy by its equation, whose kernel is held to scikit-learn's."""

import itertools

import losses
import torch
from sklearn.metrics.pairwise import rbf_kernel


def squares(x, y):
    return (x[:, None] - y[None]).square().sum(-1)


def median(x):
    # torch.median would take the lower one of the middle two.
    return squares(x, x)[torch.triu(torch.ones(len(x), len(x)), 1) == 1].sqrt().quantile(0.5).detach()


def kernel(x, y, bandwidths):
    return torch.stack([(-squares(x, y) / (2 * s ** 2)).exp() for s in bandwidths]).mean(0)


def mmd(case, x):
    pair = (x, case["other"]) if case["role"] == "first" else (case["other"], x)
    bandwidths = [median(torch.cat(pair))] if case["bandwidths"] is None else case["bandwidths"]

    def own(z):
        k = kernel(z, z, bandwidths)
        return (k.sum() - k.diag().sum()) / (len(z) * (len(z) - 1)) if case["unbiased"] else k.mean()

    return own(pair[0]) + own(pair[1]) - 2 * kernel(*pair, bandwidths).mean()


def cases():
    for shapes, unbiased in itertools.product((((4, 3), (6, 3)), ((5, 1), (2, 1))), (False, True)):
        for role, bandwidths in itertools.product(("first", "second"), (None, [1.5], [0.5, 1.0, 4.0])):
            yield {"role": role, "unbiased": unbiased, "input": losses.normal(*shapes[0]),
                   "bandwidths": None if bandwidths is None else torch.tensor(bandwidths),
                   "other": losses.normal(*shapes[1])}


def agree_with_scikit_learn():
    x, y = torch.randn(4, 3).double(), torch.randn(5, 3).double()
    theirs = torch.from_numpy(rbf_kernel(x, y, gamma=1 / (2 * 1.5 ** 2)))
    torch.testing.assert_close(kernel(x, y, [1.5]), theirs)


agree_with_scikit_learn()
losses.write(__file__, cases, mmd)
