"""The squared logarithmic error by its equation, which is held to scikit-learn's and to Keras's above its 1e-7."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import losses
import torch
from sklearn.metrics import mean_squared_log_error


def msle(case, x):
    return (x.log1p() - case["target"].log1p()) ** 2


def cases():
    for low, high in ((-0.75, 1.0), (0.0, 30.0)):
        for shape in losses.SHAPES * 3:
            yield {"input": losses.uniform(*shape, low=low, high=high),
                   "target": losses.uniform(*shape, low=low, high=high)}


def agree_with_libraries():
    x, y = 0.1 + torch.rand(2, 50, dtype=torch.float64)
    ours = msle({"target": y}, x).mean().item()
    assert abs(ours - mean_squared_log_error(y, x)) < 1e-14
    assert abs(ours - keras.losses.mean_squared_logarithmic_error(y, x).item()) < 1e-7


agree_with_libraries()
losses.write(__file__, cases, msle)
