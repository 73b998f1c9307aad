"""SimCLR's loss by pytorch-metric-learning: its losses of the anchors, halved and added for each pair."""

import losses
import torch
from pytorch_metric_learning.losses import NTXentLoss
from pytorch_metric_learning.reducers import DoNothingReducer


def nt_xent(case, x):
    first, second = losses.views(case, x)
    pairs = len(first)
    if pairs == 1:
        # Without negatives it returns 0 instead of a list.
        return losses.placed(case, 0 * (first + second).sum(1))
    loss = NTXentLoss(temperature=case["temperature"], reducer=DoNothingReducer())
    result = loss(torch.cat([first, second]), torch.arange(pairs).repeat(2))["loss"]
    assert result["indices"][0].tolist() == list(range(2 * pairs))
    return losses.placed(case, result["losses"].reshape(2, pairs).mean(0))


def cases():
    for temperature in (0.1, 0.5):
        yield from losses.view_cases(rounds=5, temperature=temperature)


losses.write(__file__, cases, nt_xent)
