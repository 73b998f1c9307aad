"""The symmetric cross-entropy by its equation, which with hard labels is held to PyTorch's cross-entropy and, where
log 0 is −2, to its absolute error."""

import losses
import torch


def symmetric(case, x):
    q = losses.class_target(case | {"class_weights": None}, x.dtype)
    weighted = losses.class_target(case, x.dtype)
    forward = -(x.log_softmax(1) * weighted).sum(1)
    reverse = -(x.softmax(1) * q.log().clamp(min=case["log_zero"])).sum(1) * weighted.sum(1)
    return case["alpha"] * forward + case["beta"] * reverse


def cases():
    for alpha, beta, log_zero in ((0.125, 1.0, -4.0), (6.0, 0.25, -1.5)):
        yield from losses.class_cases(shapes=((6, 4), (2, 4, 3)), alpha=alpha, beta=beta, log_zero=log_zero)


def agree_with_pytorch():
    x, labels = torch.randn(8, 5, dtype=torch.float64), torch.randint(5, (8,))
    case = {"input": x, "target": labels, "smoothing": 0.0, "soft": False, "class_weights": None}
    case |= {"alpha": 0.5, "beta": 3.0, "log_zero": -2.0}
    one_hot = torch.nn.functional.one_hot(labels, 5).double()
    error = torch.nn.functional.l1_loss(x.softmax(1), one_hot, reduction="none").sum(1)
    entropy = torch.nn.functional.cross_entropy(x, labels, reduction="none")
    torch.testing.assert_close(symmetric(case, x), 0.5 * entropy + 3 * error)


agree_with_pytorch()
losses.write(__file__, cases, symmetric, weigh=losses.class_weigh)
