"""Transposed convolutions: values and gradients of sum(y * cotangent), in f64."""

import golden
import torch

torch.manual_seed(1)


def case(name, channels, kernel, image, batch=2, **config):
    layer = torch.nn.ConvTranspose2d(*channels, kernel, dtype=torch.float64, **config)
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
    keys = ("stride", "padding", "dilation", "output_padding")
    sizes = {key: list(getattr(layer, key)) for key in keys}
    tensors = {key: golden.tensor(value) for key, value in values.items()}
    return {"name": name, "groups": layer.groups} | sizes | tensors


golden.write(
    __file__,
    [
        case("4x4, stride 2", (3, 7), 4, (4, 8), stride=2, padding=1),
        case("1x1", (3, 4), 1, (3, 5)),
        case("3x3, no bias", (2, 3), 3, (4, 9), padding=1, batch=1, bias=False),
        case("output padding", (2, 5), 3, (5, 4), padding=1, stride=2, output_padding=1),
        case("rows and columns", (2, 3), (3, 2), (4, 5), padding=(1, 0), stride=(1, 3)),
        case("dilation", (2, 3), 3, (4, 5), padding=2, dilation=(2, 3), output_padding=(1, 2)),
        case("groups", (4, 6), 3, (5, 6), stride=2, padding=1, groups=2),
        case("depthwise", (3, 3), 4, (3, 5), stride=2, padding=1, groups=3),
        case("stride larger than the kernel", (2, 2), 2, (3, 3), stride=3, output_padding=2),
        case("from one element", (3, 2), 4, (1, 1)),
    ],
)
