"""The cosine embedding loss by PyTorch."""

import losses
import torch
from torch.nn.functional import cosine_embedding_loss


def cosine_embedding(case, x):
    return cosine_embedding_loss(*losses.both(case, x), case["target"], margin=case["margin"], reduction="none")


def cases():
    for margin in (0.0, 0.25, -0.5):
        for rows, dimension in ((5, 3), (3, 5)):
            for role in ("first", "second") * 3:
                # Long, so that what PyTorch adds to the squares of the norms does not show.
                x, other = losses.normal(rows, dimension, scale=16), losses.normal(rows, dimension, scale=16)
                yield {"input": x, "other": other, "role": role, "target": 2 * torch.randint(2, (rows,)) - 1,
                       "margin": margin}


losses.write(__file__, cases, cosine_embedding)
