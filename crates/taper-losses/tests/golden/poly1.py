"""The poly-1 cross-entropy by its equation; at ε₁ = 0 it is held to PyTorch's cross-entropy."""

import losses
import torch


def poly1(case, x):
    each = -x.log_softmax(1) + case["epsilon"] * (1 - x.softmax(1))
    return (each * losses.class_target(case, x.dtype)).sum(1)


def cases():
    for epsilon in (-1.0, 2.0):
        yield from losses.class_cases(epsilon=epsilon)


def agree_with_pytorch():
    for case in losses.class_cases(epsilon=0.0):
        kept = torch.ones(()) if case["ignore_index"] is None else case["target"] != case["ignore_index"]
        theirs = torch.nn.functional.cross_entropy(
            case["input"], case["target"].float() if case["soft"] else case["target"], case["class_weights"],
            ignore_index=-100 if case["ignore_index"] is None else case["ignore_index"], reduction="none",
            label_smoothing=case["smoothing"])
        torch.testing.assert_close(poly1(case, case["input"]) * kept, theirs)


agree_with_pytorch()
losses.write(__file__, cases, poly1, weigh=losses.class_weigh)
