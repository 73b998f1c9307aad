"""The asymmetric loss by its equation, which without a margin is held to torchvision's focal loss without its α, and
to PyTorch's binary cross-entropy without either γ."""

import itertools

import losses
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from torchvision.ops import sigmoid_focal_loss


def asymmetric(case, x):
    y, p = case["target"], x.sigmoid()
    positive = -((1 - p) ** case["gamma_positive"]) * logsigmoid(x)
    r = (p - case["clip"]).clamp(min=0)
    cost = -logsigmoid(-x) if case["clip"] == 0 else -(1 - r).log()
    # Without a power the derivative of r^γ is that of 1, also where r is 0.
    negative = cost if case["gamma_negative"] == 0 else r ** case["gamma_negative"] * cost
    return y * positive + (1 - y) * negative


def cases():
    parameters = ((0.0, 4.0, 0.05), (1.0, 4.0, 0.05), (0.0, 0.0, 0.2), (2.0, 1.0, 0.0), (0.5, 2.0, 0.3))
    for shape, soft, (positive, negative, clip) in itertools.product(losses.SHAPES, (False, True), parameters):
        target = losses.uniform(*shape) if soft else torch.randint(2, shape).float()
        yield {"input": losses.normal(*shape, scale=3.0), "target": target, "gamma_positive": positive,
               "gamma_negative": negative, "clip": clip}


def agree_with_libraries():
    x, y = torch.randn(32, dtype=torch.float64), torch.randint(2, (32,)).double()
    of = lambda gamma: asymmetric({"target": y, "gamma_positive": gamma, "gamma_negative": gamma, "clip": 0.0}, x)
    torch.testing.assert_close(of(0.0), binary_cross_entropy_with_logits(x, y, reduction="none"))
    torch.testing.assert_close(of(2.0), sigmoid_focal_loss(x, y, alpha=-1, gamma=2.0, reduction="none"))


agree_with_libraries()
losses.write(__file__, cases, asymmetric)
