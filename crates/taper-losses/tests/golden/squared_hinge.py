"""The squared hinge loss by its equation, which is held to Keras's, which has the margin 1 and is in f32."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import losses
import torch


def squared_hinge(case, x):
    return (case["margin"] - case["target"] * x).relu() ** 2


def cases():
    for margin in (0.25, 1.0, 2.0):
        for shape in losses.SHAPES * 2:
            yield {"margin": margin, "input": losses.normal(*shape), "target": 2.0 * torch.randint(2, shape) - 1}


def agree_with_keras():
    x, target = torch.randn(9, 1, dtype=torch.float64), 2.0 * torch.randint(2, (9, 1)).double() - 1
    theirs = keras.losses.squared_hinge(target, x).double()
    ours = squared_hinge({"margin": 1.0, "target": target}, x)[:, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


agree_with_keras()
losses.write(__file__, cases, squared_hinge)
