"""The Huber loss by PyTorch."""

import losses
from torch.nn.functional import huber_loss


def cases():
    for delta in (0.25, 1.0, 2.5):
        for shape in losses.SHAPES * 2:
            yield {"delta": delta, "input": losses.normal(*shape, scale=2), "target": losses.normal(*shape)}


losses.write(__file__, cases,
             lambda case, x: huber_loss(x, case["target"], reduction="none", delta=case["delta"]))
