"""Convolutions: values and gradients of sum(y * cotangent), in f64."""

import golden
import torch

torch.manual_seed(1)


def case(name, channels, kernel, image, batch=2, **config):
    layer = torch.nn.Conv2d(*channels, kernel, dtype=torch.float64, **config)
    # Few digits where any will do: the file is kept small.
    x = torch.randn(batch, channels[0], *image, dtype=torch.float64).round(decimals=1)
    x.requires_grad_()
    y = layer(x)
    cotangent = torch.randn_like(y).round(decimals=1)
    y.backward(cotangent)
    values = {"x": x, "weight": layer.weight, "cotangent": cotangent, "y": y}
    values |= {"dx": x.grad, "dweight": layer.weight.grad}
    if layer.bias is not None:
        values |= {"bias": layer.bias, "dbias": layer.bias.grad}
    sizes = {key: list(getattr(layer, key)) for key in ("stride", "padding", "dilation")}
    tensors = {key: golden.tensor(value) for key, value in values.items()}
    return {"name": name, "groups": layer.groups} | sizes | tensors


golden.write(
    __file__,
    [
        case("1x1", (3, 4), 1, (3, 5)),
        case("3x3", (3, 7), 3, (9, 8), padding=1),
        case("3x3, no bias", (2, 3), 3, (4, 17), padding=1, batch=1, bias=False),
        case("stride 2", (2, 5), 3, (9, 8), padding=1, stride=2),
        case("1x1, stride 2", (3, 4), 1, (5, 6), stride=2),
        case("rows and columns", (2, 3), (3, 2), (7, 9), padding=(2, 1), stride=(1, 3)),
        case("dilation", (2, 3), 3, (9, 11), padding=2, dilation=(2, 3)),
        case("groups", (4, 6), 3, (5, 6), padding=1, groups=2),
        case("depthwise", (3, 3), 3, (6, 10), padding=1, groups=3),
        case("depthwise, stride 2, two each", (3, 6), 3, (6, 9), padding=1, stride=2, groups=3),
        case("more padding than kernel", (1, 2), 2, (3, 3), padding=4),
        case("one place", (2, 3), 4, (4, 4)),
    ],
)
