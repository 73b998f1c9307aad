"""The supervised contrastive loss by its equation, held to pytorch-metric-learning's where that has negatives."""

import losses
import torch
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import DoNothingReducer


def positives(case):
    """Who is a positive of whom, among those that the mask does not leave out."""
    labels = losses.chosen(case, case["labels"])
    return (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)


def sup_con(case, x):
    z = torch.nn.functional.normalize(losses.chosen(case, x))
    own = torch.eye(len(z), dtype=torch.bool)
    log_p = (z @ z.T / case["temperature"]).masked_fill(own, -torch.inf).log_softmax(1).masked_fill(own, 0.0)
    among = positives(case)
    return losses.placed(case, -(among * log_p).sum(1) / among.sum(1).clamp(min=1))


def counts(case):
    return losses.placed(case, positives(case).any(1).double())


def cases():
    for temperature in (0.1, 0.5):
        for labels in ([0, 0, 1, 1, 1, 0], [3, 3, 3, 3], [5, -2, 5, 5, -2, 7, 5]):
            for _ in range(5):
                yield {"input": losses.normal(len(labels), 4), "labels": torch.tensor(labels),
                       "temperature": temperature}


def agree_with_pytorch_metric_learning():
    labels = torch.tensor([0, 1, 2, 0, 1, 0, 1, 3])
    x = torch.randn(len(labels), 5, dtype=torch.float64)
    theirs = SupConLoss(temperature=0.1, reducer=DoNothingReducer())(x, labels)["loss"]["losses"]
    torch.testing.assert_close(sup_con({"labels": labels, "temperature": 0.1}, x), theirs)


agree_with_pytorch_metric_learning()
losses.write(__file__, cases, sup_con, counts=counts, seed=4)
