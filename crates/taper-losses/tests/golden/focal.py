"""The focal loss by its equation, which is held to Keras's where Keras has it: one-hot targets, one α for all."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import losses
import torch


def focal(case, x):
    log_p = x.log_softmax(1)
    each = -(1 - log_p.exp()) ** case["gamma"] * log_p
    return (each * losses.class_target(case, x.dtype)).sum(1)


def cases():
    for gamma in (0.0, 0.5, 2.0):
        yield from losses.class_cases(gamma=gamma)


def agree_with_keras():
    x, labels = torch.randn(8, 5, dtype=torch.float64), torch.randint(5, (8,))
    case = {"input": x, "target": labels, "gamma": 2.0, "smoothing": 0.0, "soft": False, "class_weights": None}
    one_hot = torch.nn.functional.one_hot(labels, 5).double()
    theirs = keras.losses.categorical_focal_crossentropy(one_hot, x.softmax(1), alpha=1.0, gamma=2.0)
    torch.testing.assert_close(focal(case, x), theirs, rtol=1e-6, atol=1e-6)


agree_with_keras()
losses.write(__file__, cases, focal, weigh=losses.class_weigh)
