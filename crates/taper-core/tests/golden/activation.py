"""Activations: values and derivatives in f64, from moderate to extreme inputs."""

import golden
import torch
import torch.nn.functional as F

ACTIVATIONS = {
    "identity": lambda x: x * 1.0,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    # Not F.softplus, which is the identity above its threshold of 20.
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
}
RANGES = {
    "moderate": [-6.0, -2.5, -1.0, -0.3, 0.0, 0.7, 1.0, 3.1, 5.5, 6.0, 6.2],
    "far": [-1e4, -800.0, -90.0, -40.0, 40.0, 90.0, 800.0, 1e4],
}

cases = []
for name, function in ACTIVATIONS.items():
    for range_name, values in RANGES.items():
        x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        y = function(x)
        y.sum().backward()
        tensors = {"x": golden.tensor(x), "y": golden.tensor(y), "dx": golden.tensor(x.grad)}
        cases.append({"name": name, "range": range_name} | tensors)
golden.write(__file__, cases)
