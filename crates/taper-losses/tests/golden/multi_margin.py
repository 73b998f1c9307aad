"""The multi-class margin loss by PyTorch."""

import losses
from torch.nn.functional import multi_margin_loss


def multi_margin(case, x):
    rows = x.movedim(1, -1).reshape(-1, x.shape[1])
    weights = None if case["class_weights"] is None else case["class_weights"].to(x.dtype)
    each = multi_margin_loss(rows, case["target"].reshape(-1), p=case["p"], margin=case["margin"], weight=weights,
                             reduction="none")
    return each.reshape(case["target"].shape)


def cases():
    for p, margin in ((1, 1.0), (2, 1.0), (2, 2.5)):
        for case in losses.class_cases(p=p, margin=margin):
            if not case["soft"] and case["smoothing"] == 0:
                yield case


losses.write(__file__, cases, multi_margin, weigh=losses.class_weigh)
