"""Barlow Twins by its equation, with the standardisation that its authors take: PyTorch's batch norm."""

import losses
import torch


def barlow_twins(case, x):
    standard = lambda z: torch.nn.functional.batch_norm(z, None, None, training=True, eps=case["eps"])
    first, second = losses.views(case, x)
    c = standard(first).T @ standard(second) / len(first)
    same = (1 - c.diag()).square().sum()
    return same + case["lambda"] * (c - c.diag().diag()).square().sum()


def cases():
    for factor, eps in ((0.005, 1e-5), (0.5, 0.125)):
        yield from losses.view_cases(((4, 3), (5, 1), (7, 4)), **{"lambda": factor, "eps": eps})


losses.write(__file__, cases, barlow_twins)
