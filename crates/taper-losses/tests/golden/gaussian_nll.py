"""The Gaussian negative log-likelihood by PyTorch; `role` says which argument is `input` and so has the gradient."""

import itertools

import losses
from torch.nn.functional import gaussian_nll_loss


def gaussian_nll(case, x):
    mean, var = (x, case["other"]) if case["role"] == "mean" else (case["other"], x)
    return gaussian_nll_loss(mean, case["target"], var, full=case["full"], eps=case["eps"], reduction="none")


def cases():
    # With the second ε some variances are too small.
    for role, full, eps in itertools.product(("mean", "var"), (True, False), (1e-6, 0.5)):
        for shape in losses.SHAPES:
            mean, var = losses.normal(*shape), losses.uniform(*shape, low=0.125, high=2)
            of, other = (mean, var) if role == "mean" else (var, mean)
            yield {"role": role, "full": full, "eps": eps, "input": of, "other": other,
                   "target": losses.normal(*shape)}


losses.write(__file__, cases, gaussian_nll)
