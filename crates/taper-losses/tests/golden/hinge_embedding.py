"""The hinge embedding loss by PyTorch."""

import losses
import torch
from torch.nn.functional import hinge_embedding_loss


def cases():
    for margin in (1.0, 0.5):
        for shape in losses.SHAPES * 3:
            # Some of the sixteenths are the margin, where the derivative is 0.
            x = losses.normal(*shape)
            x.view(-1)[2] = margin
            yield {"input": x, "target": 2 * torch.randint(2, shape) - 1, "margin": margin}


losses.write(__file__, cases, lambda case, x: hinge_embedding_loss(x, case["target"], case["margin"], reduction="none"))
