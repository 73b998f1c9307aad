"""Local response normalization by PyTorch in f64, with the errors of its own f32: the result and its gradient."""

import golden
import torch

CASES = [
    ((2, 7, 4), {"size": 5}),
    ((2, 7, 4), {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}),
    ((2, 8, 4), {"size": 3, "alpha": 0.8}),
    ((2, 8, 4), {"size": 4, "alpha": 0.8}),
    ((2, 6, 2, 3), {"size": 2, "alpha": 1.5, "beta": 0.5}),
    ((2, 6, 2, 3), {"size": 5, "alpha": 1.5, "beta": 1.0, "k": 0.25}),
    ((2, 3, 2, 3), {"size": 8, "alpha": 2.0, "beta": 0.6}),
    ((1, 5, 2, 3, 2), {"size": 3, "alpha": 0.5}),
    ((1, 5, 2, 3, 2), {"size": 6, "alpha": 0.5, "beta": 1.25}),
    ((1, 4, 3), {"size": 1, "alpha": 1.0}),
]


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def results(x, upstream, options, dtype):
    x = x.to(dtype, copy=True).requires_grad_()
    y = torch.nn.LocalResponseNorm(**options)(x)
    (y * upstream.to(dtype)).sum().backward()
    return {"y": y.detach(), "x gradient": x.grad}


def cases():
    torch.manual_seed(4)
    for shape, options in CASES:
        x, upstream = sixteenths(2 * torch.randn(shape) + 1), sixteenths(torch.randn(shape))
        double = results(x, upstream, options, torch.float64)
        single = results(x, upstream, options, torch.float32)
        layer = torch.nn.LocalResponseNorm(**options)
        case = {
            "name": f"{list(shape)} {options}", "size": layer.size, "alpha": layer.alpha,
            "beta": layer.beta, "k": layer.k, "x": golden.tensor(x), "upstream": golden.tensor(upstream),
        }
        for name, values in double.items():
            error = (single[name] - values).abs().max() / values.abs().max()
            case |= {name: golden.tensor(values), f"{name} f32_error": error.item()}
        yield case


golden.write(__file__, list(cases()))
