"""The contrastive loss by the paper's equation, held to pytorch-metric-learning's where its distances are squared."""

import losses
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import DoNothingReducer
from torch.nn.functional import pairwise_distance

DISTANCES = {"euclidean": 2, "manhattan": 1}


def contrastive(case, x):
    d = pairwise_distance(*losses.both(case, x), p=DISTANCES[case["distance"]], eps=0)
    dissimilar = 1 - case["target"].to(d.dtype)
    return (1 - dissimilar) * d.square() / 2 + dissimilar * (case["margin"] - d).relu().square() / 2


def cases():
    for distance in DISTANCES:
        for margin in (1.0, 2.5):
            for rows, dimension in ((5, 3), (4, 2)):
                for role in ("first", "second", "first", "second"):
                    x, other = losses.normal(rows, dimension), losses.normal(rows, dimension)
                    # Two at one place, where the derivative is 0.
                    other[1] = x[1]
                    yield {"input": x, "other": other, "role": role, "target": torch.randint(2, (rows,)),
                           "distance": distance, "margin": margin}


def agree_with_pytorch_metric_learning():
    x, other = torch.randn(2, 6, 3, dtype=torch.float64)
    distance = LpDistance(normalize_embeddings=False)
    pairs = torch.arange(6)
    theirs = ContrastiveLoss(0, 2.0, distance=distance, reducer=DoNothingReducer())(
        x, indices_tuple=(pairs, pairs, pairs, pairs), ref_emb=other)
    for kind, part in ((1, "pos_loss"), (0, "neg_loss")):
        case = {"other": other, "role": "first", "distance": "euclidean", "margin": 2.0,
                "target": torch.full((6,), kind)}
        # Theirs is d or max(0, m - d).
        torch.testing.assert_close(contrastive(case, x), theirs[part]["losses"].square() / 2)


agree_with_pytorch_metric_learning()
losses.write(__file__, cases, contrastive)
