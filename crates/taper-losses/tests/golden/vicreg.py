"""VICReg by the equations of its authors' code, held to pytorch-metric-learning's."""

import losses
import torch
from pytorch_metric_learning.losses import VICRegLoss
from pytorch_metric_learning.reducers import MeanReducer


def parts(first, second, deviation=1.0, eps=1e-4):
    hinge = lambda z: (deviation - (z.var(0) + eps).sqrt()).relu().mean()
    result = {"invariance": (first - second).square().mean(), "variance": (hinge(first) + hinge(second)) / 2}
    result["covariance"] = covariance(first) + covariance(second)
    result["total"] = 25 * result["invariance"] + 25 * result["variance"] + result["covariance"]
    return result


def covariance(z):
    c = z.T.cov().reshape(z.shape[1], z.shape[1])
    return (c - c.diag().diag()).square().sum() / z.shape[1]


def vicreg(case, x):
    return parts(*losses.views(case, x), case["deviation"], case["eps"])[case["part"]]


def cases():
    for part in ("total", "invariance", "variance", "covariance"):
        yield from losses.view_cases(((2, 3), (5, 1), (6, 4)), rounds=2, part=part, deviation=1.0, eps=1e-4)
        yield from losses.view_cases(((5, 3),), rounds=2, part=part, deviation=0.75, eps=0.125)


def agree_with_pytorch_metric_learning():
    first, second = torch.randn(2, 6, 4, dtype=torch.float64) * 0.7
    theirs = VICRegLoss(reducer=MeanReducer())(first, ref_emb=second)
    torch.testing.assert_close(parts(first, second)["total"], theirs)


agree_with_pytorch_metric_learning()
losses.write(__file__, cases, vicreg)
