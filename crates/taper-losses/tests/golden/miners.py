"""The triplets and pairs of a batch by pytorch-metric-learning's miners."""

import golden
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices, get_all_triplets_indices

DISTANCES = {
    "euclidean": LpDistance(normalize_embeddings=False),
    "squared_euclidean": LpDistance(normalize_embeddings=False, power=2),
    "manhattan": LpDistance(normalize_embeddings=False, p=1),
    "cosine": CosineSimilarity(),
}
LABELS = ([0, 0, 1, 1, 2, 2], [5, -2, 5, 5, -2, 7, 5], [3, 3, 3, 3], [4, 1, 2, 0], [1, 0, 0, 0, 1, 1, 0, 1, 0])



def once(first, second):
    """The pairs whose first comes before the second."""
    return [(int(i), int(j)) for i, j in zip(first, second) if i < j]


def cases():
    for labels in map(torch.tensor, LABELS):
        a, p, b, n = get_all_pairs_indices(labels)
        yield {"miner": "all_pairs", "labels": golden.tensor(labels), "positives": golden.tensor(sum(once(a, p), ())),
               "negatives": golden.tensor(sum(once(b, n), ()))}
        yield {"miner": "all_triplets", "labels": golden.tensor(labels)} | triplets(get_all_triplets_indices(labels))
        for name, distance in DISTANCES.items():
            # Not in sixteenths, so that no two distances are equal.
            embeddings = torch.randn(len(labels), 3, dtype=torch.float64).round(decimals=4)
            case = {"labels": golden.tensor(labels), "embeddings": golden.tensor(embeddings), "distance": name}
            yield case | {"miner": "batch_hard"} | triplets(BatchHardMiner(distance=distance)(embeddings, labels))
            for margin in (0.25, 1.0):
                miner = TripletMarginMiner(margin, "semihard", distance=distance)
                yield case | {"miner": "semi_hard", "margin": margin} | triplets(miner(embeddings, labels))


def triplets(indices):
    return {role: golden.tensor(rows) for role, rows in zip(("anchor", "positive", "negative"), indices)}


torch.manual_seed(1)
golden.write(__file__, list(cases()))
