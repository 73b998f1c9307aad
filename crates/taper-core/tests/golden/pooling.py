"""Pooling: values and gradients of sum(y * cotangent), in f64, of images with equal elements."""

import golden
import torch
import torch.nn.functional as F

torch.manual_seed(1)


def case(layer, function, shape, **options):
    # Quarters, so that some elements of a window are equal.
    x = (torch.randn(shape, dtype=torch.float64) * 4).round() / 4
    x.requires_grad_()
    y = function(x, **options)
    cotangent = torch.randn_like(y)
    y.backward(cotangent)
    values = {"x": x, "cotangent": cotangent, "y": y, "dx": x.grad}
    tensors = {key: golden.tensor(value) for key, value in values.items()}
    return {"layer": layer} | options | tensors


def max_pool(shape, **options):
    defaults = {"stride": options["kernel_size"], "padding": [0, 0], "dilation": [1, 1]}
    options = defaults | {"ceil_mode": False} | options
    return case("max", F.max_pool2d, shape, **options)


def avg_pool(shape, **options):
    defaults = {"stride": options["kernel_size"], "padding": [0, 0], "ceil_mode": False}
    options = defaults | {"count_include_pad": True, "divisor_override": None} | options
    return case("avg", F.avg_pool2d, shape, **options)


def adaptive(shape, output_size):
    return case("adaptive", F.adaptive_avg_pool2d, shape, output_size=output_size)


golden.write(
    __file__,
    [
        max_pool((2, 2, 4, 6), kernel_size=[2, 2]),
        max_pool((1, 2, 7, 8), kernel_size=[3, 3], stride=[2, 2], padding=[1, 1]),
        max_pool((2, 8, 7), kernel_size=[3, 2], stride=[1, 2], ceil_mode=True),
        max_pool((1, 1, 9, 21), kernel_size=[3, 3], stride=[1, 1], padding=[1, 1], dilation=[2, 3]),
        max_pool((1, 2, 5, 5), kernel_size=[2, 2], stride=[3, 3], padding=[1, 1], ceil_mode=True),
        max_pool((1, 1, 4, 4), kernel_size=[5, 5], stride=[2, 2], ceil_mode=True),
        avg_pool((2, 2, 4, 6), kernel_size=[2, 2]),
        avg_pool((1, 2, 7, 8), kernel_size=[3, 3], stride=[2, 2], padding=[1, 1]),
        avg_pool((1, 2, 7, 8), kernel_size=[3, 3], stride=[2, 1], padding=[1, 1], count_include_pad=False),
        avg_pool((2, 8, 7), kernel_size=[3, 2], stride=[2, 2], padding=[1, 0], ceil_mode=True),
        avg_pool((1, 1, 8, 7), kernel_size=[3, 4], stride=[3, 3], padding=[1, 2], ceil_mode=True, count_include_pad=False),
        avg_pool((1, 1, 6, 6), kernel_size=[3, 3], stride=[2, 2], padding=[1, 1], divisor_override=4),
        avg_pool((1, 1, 4, 4), kernel_size=[5, 5], stride=[2, 2], ceil_mode=True),
        adaptive((2, 3, 7, 7), [1, 1]),
        adaptive((1, 2, 5, 7), [3, 2]),
        adaptive((2, 3, 4), [5, 6]),
        adaptive((1, 1, 6, 8), [3, 4]),
    ],
)
