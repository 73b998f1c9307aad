"""The negative log-likelihood by PyTorch for labels; by its equation for probabilities and smoothing."""

import losses
import torch
from torch.nn.functional import nll_loss


def nll(case, x):
    if case["soft"] or case["smoothing"]:
        return -(x * losses.class_target(case, x.dtype)).sum(1)
    ignored = -100 if case["ignore_index"] is None else case["ignore_index"]
    return nll_loss(x, case["target"], case["class_weights"], ignore_index=ignored, reduction="none")


def cases():
    for case in losses.class_cases(shapes=((6, 5), (2, 4, 3), (2, 3, 2, 2))):
        # Rounded, so short; that they are log-probabilities is nothing to the loss.
        case["input"] = losses.sixteenths(case["input"].log_softmax(1))
        yield case


def agree_with_pytorch():
    for case in losses.class_cases():
        if not case["soft"] and not case["smoothing"] and case["ignore_index"] is None:
            by_equation = -(case["input"] * losses.class_target(case, torch.float32)).sum(1)
            torch.testing.assert_close(nll(case, case["input"]), by_equation)


agree_with_pytorch()
losses.write(__file__, cases, nll, weigh=losses.class_weigh)
