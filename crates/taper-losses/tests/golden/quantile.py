"""The quantile loss by its equation, which is held to scikit-learn's."""

import losses
import torch
from sklearn.metrics import mean_pinball_loss


def quantile(case, x):
    # The derivative of relu at 0 is 0, so that of both sides where they meet.
    d, tau = case["target"] - x, case["quantile"]
    return tau * d.relu() + (1 - tau) * (-d).relu()


def cases():
    for tau in (0.125, 0.5, 0.75):
        for shape in losses.SHAPES * 2:
            yield {"quantile": tau, "input": losses.normal(*shape), "target": losses.normal(*shape)}


def agree_with_scikit_learn():
    x, y = torch.randn(2, 50, dtype=torch.float64)
    for tau in (0.1, 0.5, 0.9):
        theirs = mean_pinball_loss(y, x, alpha=tau)
        assert abs(quantile({"target": y, "quantile": tau}, x).mean().item() - theirs) < 1e-14


agree_with_scikit_learn()
losses.write(__file__, cases, quantile)
