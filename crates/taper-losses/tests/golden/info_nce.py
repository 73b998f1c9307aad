"""InfoNCE by pytorch-metric-learning: its NTXentLoss of queries against `ref_emb`; symmetric, of both directions."""

import losses
import torch
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import DoNothingReducer


def info_nce(case, x):
    queries, keys = (x, case["other"]) if case["role"] == "queries" else (case["other"], x)
    if case.get("mask") is not None and case["mask"].sum() == 1 and len(keys) == len(queries):
        # Without negatives it returns 0 instead of a list.
        return losses.placed(case, 0 * losses.chosen(case, x).sum(1))
    queries, keys = losses.chosen(case, queries), losses.chosen(case, keys)
    each = directed(case, queries, keys)
    return losses.placed(case, (each + directed(case, keys, queries)) / 2 if case["symmetric"] else each)


def directed(case, queries, keys):
    loss = NTXentLoss(temperature=case["temperature"], reducer=DoNothingReducer())
    labels = torch.arange(len(queries)), torch.arange(len(keys))
    return loss(queries, labels[0], ref_emb=keys, ref_labels=labels[1])["loss"]["losses"]


def cases():
    for temperature, symmetric, extra in ((0.07, False, 0), (0.5, False, 2), (0.5, True, 0)):
        for rows, dimension in ((2, 3), (5, 4)):
            for role in ("queries", "keys", "queries", "keys", "queries"):
                shapes = {"queries": (rows, dimension), "keys": (rows + extra, dimension)}
                other = "keys" if role == "queries" else "queries"
                # The losses are one for each query, also where the keys have the gradient.
                yield {"input": losses.normal(*shapes[role]), "other": losses.normal(*shapes[other]), "role": role,
                       "temperature": temperature, "symmetric": symmetric}


losses.write(__file__, cases, info_nce)
