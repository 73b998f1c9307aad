"""The generalized cross-entropy by its equation, which at q = 1 is held to half PyTorch's absolute error."""

import losses
import torch


def generalized(case, x):
    each = (1 - x.softmax(1) ** case["q"]) / case["q"]
    return (each * losses.class_target(case, x.dtype)).sum(1)


def cases():
    for q in (0.3, 1.0):
        yield from losses.class_cases(q=q)


def agree_with_pytorch():
    x, labels = torch.randn(8, 5, dtype=torch.float64), torch.randint(5, (8,))
    case = {"input": x, "target": labels, "q": 1.0, "smoothing": 0.0, "soft": False, "class_weights": None}
    one_hot = torch.nn.functional.one_hot(labels, 5).double()
    theirs = torch.nn.functional.l1_loss(x.softmax(1), one_hot, reduction="none").sum(1) / 2
    torch.testing.assert_close(generalized(case, x), theirs)


agree_with_pytorch()
losses.write(__file__, cases, generalized, weigh=losses.class_weigh)
