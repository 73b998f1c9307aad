"""A batch normalization folded into the layer before it by PyTorch in f64: the weight and bias."""

import golden
import torch
from torch.nn.utils import fuse_conv_bn_weights, fuse_linear_bn_weights
from training import sixteenths


def cases():
    torch.manual_seed(11)
    for name, fuse, shape in [
        ("linear", fuse_linear_bn_weights, (3, 5)),
        ("conv1d", fuse_conv_bn_weights, (2, 3, 4)),
        ("conv2d", fuse_conv_bn_weights, (4, 2, 3, 3)),
    ]:
        for with_bias in (True, False):
            channels = shape[0]
            numbers = lambda: sixteenths(torch.randn(channels)).double()
            weight = sixteenths(torch.randn(shape)).double()
            bias = numbers() if with_bias else None
            mean, var, eps = numbers(), 0.5 + sixteenths(torch.rand(channels)).double(), 1e-3
            gamma, beta = numbers(), numbers()
            folded, folded_bias = fuse(weight, bias, mean, var, eps, gamma, beta)
            case = {"name": f"{name} bias={with_bias}", "eps": eps}
            named = {"weight": weight, "mean": mean, "variance": var, "gamma": gamma, "beta": beta}
            named |= {"bias": bias} if with_bias else {}
            named |= {"folded weight": folded, "folded bias": folded_bias}
            yield case | {name: golden.tensor(values) for name, values in named.items()}


golden.write(__file__, list(cases()))
