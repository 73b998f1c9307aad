"""The focal loss of sigmoids by torchvision, whose α of −1 is none."""

import itertools

import losses
import torch
from torchvision.ops import sigmoid_focal_loss


def focal(case, x):
    alpha = -1 if case["alpha"] is None else case["alpha"]
    return sigmoid_focal_loss(x, case["target"], alpha=alpha, gamma=case["gamma"], reduction="none")


def cases():
    parameters = ((0.25, 2.0), (None, 2.0), (0.75, 0.5), (0.5, 0.0), (0.25, 2.0), (1.0, 3.0))
    for shape, soft, (alpha, gamma) in itertools.product(losses.SHAPES, (False, True), parameters):
        target = losses.uniform(*shape) if soft else torch.randint(2, shape).float()
        yield {"input": losses.normal(*shape, scale=3.0), "target": target, "alpha": alpha, "gamma": gamma}


losses.write(__file__, cases, focal)
