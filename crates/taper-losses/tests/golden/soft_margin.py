"""The soft margin loss by PyTorch."""

import losses
import torch
from torch.nn.functional import soft_margin_loss


def cases():
    for scale in (0.5, 2.0, 8.0):
        for shape in losses.SHAPES * 2:
            yield {"input": losses.normal(*shape, scale=scale), "target": 2.0 * torch.randint(2, shape) - 1}


def overflows_in_pytorch():
    x = torch.tensor([-100.0], requires_grad=True)
    loss = soft_margin_loss(x, torch.ones(1))
    loss.backward()
    assert loss.isinf() and x.grad.isnan()


overflows_in_pytorch()
losses.write(__file__, cases, lambda case, x: soft_margin_loss(x, case["target"], reduction="none"))
