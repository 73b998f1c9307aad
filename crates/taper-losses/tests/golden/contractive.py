"""The squared norm of an encoder's Jacobian by `torch.autograd.functional`; `role` is what has the gradient."""

import losses
import torch
from torch.autograd.functional import jacobian
from torch.nn.functional import leaky_relu, softplus

ACTIVATIONS = {
    "identity": lambda x: x, "relu": torch.relu, "leaky_relu": lambda x: leaky_relu(x, 0.25),
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": softplus,
}


def contractive(case, x):
    inputs, weight = (x, case["other"]) if case["role"] == "inputs" else (case["other"], x)
    encoder = lambda sample: ACTIVATIONS[case["activation"]](weight @ sample + case["bias"])
    each = [jacobian(encoder, sample, create_graph=True).square().sum() for sample in inputs]
    return torch.stack(each)


def cases():
    for activation in ACTIVATIONS:
        # Lines have no second derivative, by which the inputs would get a gradient.
        lines = activation in ("identity", "relu", "leaky_relu")
        for rows, inputs, units in ((4, 3, 2), (5, 2, 3)):
            for role in ("weight",) if lines else ("weight", "inputs"):
                shapes = {"inputs": (rows, inputs), "weight": (units, inputs)}
                other = "weight" if role == "inputs" else "inputs"
                yield {"activation": activation, "role": role, "input": losses.normal(*shapes[role]),
                       "other": losses.normal(*shapes[other]), "bias": losses.normal(units)}


losses.write(__file__, cases, contractive)
