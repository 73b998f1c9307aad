"""Linear layers: values and gradients of sum(y * cotangent), in f64."""

import golden
import torch

torch.manual_seed(1)


def case(name, leading, inputs, outputs, bias):
    layer = torch.nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)
    x = torch.randn(*leading, inputs, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    cotangent = torch.randn_like(y)
    y.backward(cotangent)
    values = {"x": x, "weight": layer.weight, "cotangent": cotangent, "y": y}
    values |= {"dx": x.grad, "dweight": layer.weight.grad}
    if bias:
        values |= {"bias": layer.bias, "dbias": layer.bias.grad}
    return {"name": name} | {key: golden.tensor(value) for key, value in values.items()}


golden.write(
    __file__,
    [
        case("one vector", (), 3, 2, True),
        case("a batch", (4,), 5, 3, True),
        case("no bias", (4,), 5, 3, False),
        case("three leading dimensions", (2, 1, 3), 4, 2, True),
    ],
)
