"""The margin ranking loss by PyTorch."""

import losses
import torch
from torch.nn.functional import margin_ranking_loss


def margin_ranking(case, x):
    return margin_ranking_loss(*losses.both(case, x), case["target"], margin=case["margin"], reduction="none")


def cases():
    for margin in (0.0, 0.5):
        for role in ("first", "second"):
            for shape in losses.SHAPES * 2:
                # Equal scores, where the derivative is 0 without a margin.
                x, other = losses.normal(*shape), losses.normal(*shape)
                other.view(-1)[2] = x.view(-1)[2]
                yield {"input": x, "other": other, "role": role, "target": 2 * torch.randint(2, shape) - 1,
                       "margin": margin}


losses.write(__file__, cases, margin_ranking)
