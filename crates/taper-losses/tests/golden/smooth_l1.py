"""The smooth L1 loss by PyTorch."""

import losses
from torch.nn.functional import smooth_l1_loss


def cases():
    for beta in (0.0, 0.25, 1.0, 2.5):
        for shape in losses.SHAPES * 2:
            yield {"beta": beta, "input": losses.normal(*shape, scale=2), "target": losses.normal(*shape)}


losses.write(__file__, cases,
             lambda case, x: smooth_l1_loss(x, case["target"], reduction="none", beta=case["beta"]))
