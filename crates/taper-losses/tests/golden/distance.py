"""Distances by PyTorch, row by row and all against all, with the gradient of either side."""

import losses
import torch
from torch.nn.functional import cosine_similarity, pairwise_distance


def distance(case, x):
    first, second = losses.both(case, x)
    kind = case["distance"]
    if kind == "cosine":
        return 1 - (cosine_similarity(first[:, None], second[None], dim=2) if case["pairwise"]
                    else cosine_similarity(first, second))
    p = 1 if kind == "manhattan" else 2
    if case["pairwise"]:
        far = torch.cdist(first, second, p=p, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        far = pairwise_distance(first, second, p=p, eps=0)
    return far.square() if kind == "squared_euclidean" else far


def cases():
    for kind in ("euclidean", "squared_euclidean", "manhattan", "cosine"):
        for rows, dimension in ((3, 2), (4, 3), (3, 4)):
            for pairwise in (False, True):
                for role in ("first", "second"):
                    x, other = losses.normal(rows, dimension), losses.normal(rows - pairwise, dimension)
                    if kind != "cosine":
                        # Two at one place, where the derivative is 0.
                        other[1] = x[1]
                    yield {"distance": kind, "pairwise": pairwise, "input": x, "other": other, "role": role}


losses.write(__file__, cases, distance, plain=True)
