"""The margin loss of several labels by PyTorch, whose target is the list of a row's classes, ended by −1."""

import losses
import torch
from torch.nn.functional import multilabel_margin_loss


def listed(target):
    rows = torch.full(target.shape, -1)
    for row, classes in zip(rows, target):
        positions = classes.nonzero().flatten()
        row[:len(positions)] = positions
    return rows


def multilabel_margin(case, x):
    rows, target = x.reshape(-1, x.shape[-1]), case["target"].reshape(-1, x.shape[-1])
    return multilabel_margin_loss(rows, listed(target), reduction="none").reshape(x.shape[:-1])


def cases():
    for shape in ((4, 3), (2, 3, 5), (6,), (5, 8)) * 6:
        yield {"input": losses.normal(*shape), "target": torch.randint(2, shape).float()}


losses.write(__file__, cases, multilabel_margin)
