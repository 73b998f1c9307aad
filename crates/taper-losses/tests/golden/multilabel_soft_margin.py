"""The soft margin loss of several labels by PyTorch."""

import losses
import torch
from torch.nn.functional import multilabel_soft_margin_loss


def cases():
    for shape in ((4, 3), (2, 3, 4)):
        for turn in range(8):
            yield {"input": losses.normal(*shape, scale=3), "target": torch.randint(2, shape).double(),
                   "class_weights": losses.uniform(shape[-1], low=0.25, high=2.0) if turn % 2 else None}


def loss(case, x):
    return multilabel_soft_margin_loss(x, case["target"], weight=case["class_weights"], reduction="none")


losses.write(__file__, cases, loss)
