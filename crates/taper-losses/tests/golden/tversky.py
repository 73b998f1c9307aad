"""The Tversky loss by its equation, which is held to Keras's, whose code has alpha and beta exchanged."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import itertools

import keras
import losses
import torch


def tversky(case, x):
    start = 2 if case["by_class"] else 1
    p, g = x.flatten(start), case["target"].flatten(start)
    both, too_much, too_little = (p * g).sum(-1), (p * (1 - g)).sum(-1), ((1 - p) * g).sum(-1)
    whole = both + case["alpha"] * too_much + case["beta"] * too_little
    return 1 - (both + case["smoothing"]) / (whole + case["smoothing"])


def cases():
    for (alpha, beta), by_class in itertools.product(((0.25, 0.75), (1.0, 1.0)), (False, True)):
        for shape, smoothing in itertools.product(((3, 2, 5), (2, 3, 2, 2)), (0.0, 1.0)):
            yield {"alpha": alpha, "beta": beta, "by_class": by_class, "smoothing": smoothing,
                   "input": losses.uniform(*shape, low=0.125, high=0.875), "target": torch.randint(2, shape).double()}


def agree_with_keras():
    x, target = torch.rand(3, 2, 5, dtype=torch.float64), torch.randint(2, (3, 2, 5)).double()
    case = {"alpha": 0.25, "beta": 0.75, "by_class": True, "smoothing": 0.0, "target": target}
    theirs = keras.losses.tversky(target, x, alpha=0.75, beta=0.25, axis=2)
    torch.testing.assert_close(tversky(case, x), theirs, rtol=1e-6, atol=1e-6)


agree_with_keras()
losses.write(__file__, cases, tversky)
