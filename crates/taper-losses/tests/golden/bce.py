"""The binary cross-entropy of probabilities by PyTorch, at 0 and 1 too, where its logarithms are limited."""

import losses
import torch
from torch.nn.functional import binary_cross_entropy


def cases():
    for shape, turn in zip(losses.SHAPES * 8, range(24)):
        # A gradient at the ends is so large that beside it all others are right: one case in four has them.
        low, high = (0.0, 1.0) if turn % 4 == 3 else (0.0625, 0.9375)
        target = losses.uniform(*shape) if turn % 2 else torch.randint(2, shape).float()
        case = {"input": losses.uniform(*shape, low=low, high=high), "target": target}
        if turn % 4 == 3:
            case["input"].view(-1)[:3] = torch.tensor([0.0, 1.0, 1.0])
        yield case


losses.write(__file__, cases, lambda case, x: binary_cross_entropy(x, case["target"], reduction="none"))
