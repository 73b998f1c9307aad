"""The triplet margin loss by PyTorch, with the gradient of each of the three."""

import losses
from torch.nn.functional import cosine_similarity, pairwise_distance, triplet_margin_with_distance_loss

DISTANCES = {
    "euclidean": lambda a, b: pairwise_distance(a, b, eps=0),
    "squared_euclidean": lambda a, b: pairwise_distance(a, b, eps=0).square(),
    "manhattan": lambda a, b: pairwise_distance(a, b, p=1, eps=0),
    "cosine": lambda a, b: 1 - cosine_similarity(a, b),
}
ROLES = ("anchor", "positive", "negative")


def triplet_margin(case, x):
    three = [x if role == case["role"] else case[role] for role in ROLES]
    return triplet_margin_with_distance_loss(*three, distance_function=DISTANCES[case["distance"]],
                                             margin=case["margin"], swap=case["swap"], reduction="none")


def cases():
    for distance in DISTANCES:
        for swap in (False, True):
            for role in ROLES:
                for rows, dimension in ((3, 3), (3, 2)):
                    case = {other: losses.normal(rows, dimension) for other in ROLES if other != role}
                    yield case | {"input": losses.normal(rows, dimension), "role": role, "distance": distance,
                                  "swap": swap, "margin": 0.25 if dimension == 2 else 1.0}


losses.write(__file__, cases, triplet_margin)
