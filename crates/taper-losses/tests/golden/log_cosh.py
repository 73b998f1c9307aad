"""The log-cosh loss by its equation, which is held to Keras's; that one takes log 2 in f32."""

import math
import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import losses
import torch


def log_cosh(case, x):
    d = x - case["target"]
    return torch.logaddexp(d, -d) - math.log(2)


def cases():
    for scale in (0.5, 3.0, 30.0):
        for shape in losses.SHAPES * 2:
            yield {"input": losses.normal(*shape, scale=scale), "target": losses.normal(*shape)}


def agree_with_keras():
    x, y = torch.randn(2, 9, 1, dtype=torch.float64)
    torch.testing.assert_close(log_cosh({"target": y}, x)[:, 0], keras.losses.log_cosh(y, x), rtol=1e-6, atol=1e-6)


agree_with_keras()
losses.write(__file__, cases, log_cosh)
