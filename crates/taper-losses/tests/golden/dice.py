"""The soft Dice loss by its equation, which is held to Keras's where that has it: no squares, hardly a smoothing."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import itertools

import keras
import losses
import torch


def dice(case, x):
    start = 2 if case["by_class"] else 1
    p, g = x.flatten(start), case["target"].flatten(start)
    whole = (p ** 2 + g ** 2 if case["squared"] else p + g).sum(-1)
    return 1 - (2 * (p * g).sum(-1) + case["smoothing"]) / (whole + case["smoothing"])


def cases():
    for squared, by_class, smoothing in itertools.product((False, True), (False, True), (0.0, 1.0)):
        for shape in ((3, 2, 5), (2, 3, 2, 2)):
            yield {"squared": squared, "by_class": by_class, "smoothing": smoothing,
                   "input": losses.uniform(*shape, low=0.125, high=0.875), "target": torch.randint(2, shape).double()}


def agree_with_keras():
    x, target = torch.rand(3, 2, 5, dtype=torch.float64), torch.randint(2, (3, 2, 5)).double()
    case = {"squared": False, "by_class": True, "smoothing": 0.0, "target": target}
    torch.testing.assert_close(dice(case, x), keras.losses.dice(target, x, axis=2), rtol=1e-6, atol=1e-6)
    nowhere = torch.zeros(1, 1, 5, dtype=torch.float64)
    assert keras.losses.dice(nowhere, nowhere) == 1


agree_with_keras()
losses.write(__file__, cases, dice)
