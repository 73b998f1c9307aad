"""The L2 penalty of two tensors, whose gradient is PyTorch's weight decay; it is half of Keras's."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import losses
import torch


def penalty(case, x):
    return (x.square().sum() + case["other"].square().sum()) / 2


def cases():
    for shape in losses.SHAPES * 4:
        yield {"input": losses.normal(*shape, scale=2), "other": losses.normal(2, 3)}


def agree_with_keras():
    x, other = torch.randn(4, 3), torch.randn(5)
    theirs = sum(keras.regularizers.L2(0.5)(tensor) for tensor in (x, other))
    torch.testing.assert_close(penalty({"other": other}, x), theirs)


def agree_with_weight_decay():
    start = torch.randn(5, dtype=torch.float64)

    def step(decay, loss):
        x = start.clone().requires_grad_()
        loss(x).backward()
        torch.optim.SGD([x], lr=0.1, weight_decay=decay).step()
        return x.detach()

    nothing = torch.zeros((), dtype=torch.float64)
    ours = step(0.0, lambda x: x.sin().sum() + 0.3 * penalty({"other": nothing}, x))
    torch.testing.assert_close(ours, step(0.3, lambda x: x.sin().sum()))


agree_with_keras()
agree_with_weight_decay()
losses.write(__file__, cases, penalty)
