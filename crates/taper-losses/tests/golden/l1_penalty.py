"""The L1 penalty of two tensors by PyTorch's norm, which is held to Keras's."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import losses
import torch


def penalty(case, x):
    return torch.linalg.vector_norm(x, 1) + torch.linalg.vector_norm(case["other"], 1)


def cases():
    for shape in losses.SHAPES * 4:
        # Some sixteenths are 0, where the derivative is.
        yield {"input": losses.normal(*shape), "other": losses.normal(2, 3)}


def agree_with_keras():
    x, other = torch.randn(4, 3), torch.randn(5)
    theirs = sum(keras.regularizers.L1(1.0)(tensor) for tensor in (x, other))
    torch.testing.assert_close(penalty({"other": other}, x), theirs)


agree_with_keras()
losses.write(__file__, cases, penalty)
