"""The mean squared error and its gradient by PyTorch in f64, with the errors of its own f32.

`reduction` is taper-losses' name: PyTorch's `mean` is the mean over the weights.
"""

import golden
import torch
from torch.nn.functional import mse_loss

REDUCTIONS = {"none": "none", "sum": "sum", "weighted_mean": "mean"}


def evaluate(x, y, weights, reduction, upstream, dtype):
    """The loss and the gradient of Σ upstream · loss (upstream is 1 where the loss is one number)."""
    x = x.to(dtype, copy=True).requires_grad_()
    weights = None if weights is None else weights.to(dtype)
    loss = mse_loss(x, y.to(dtype), reduction=reduction, weight=weights)
    (loss * upstream.to(dtype)).sum().backward()
    return {"value": loss.detach(), "gradient": x.grad}


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def cases():
    torch.manual_seed(2)
    for shape in [(5,), (4, 3), (2, 3, 2, 2)]:
        for weighted in (False, True):
            for ours, theirs in REDUCTIONS.items():
                x, y = sixteenths(3 * torch.randn(shape)), sixteenths(torch.randn(shape))
                weights = sixteenths(torch.rand(shape)) if weighted else None
                upstream = sixteenths(torch.randn(shape)) if theirs == "none" else torch.tensor(1.0)
                yield row(ours, theirs, x, y, weights, upstream)


def row(ours, theirs, x, y, weights, upstream):
    double = evaluate(x, y, weights, theirs, upstream, torch.float64)
    single = evaluate(x, y, weights, theirs, upstream, torch.float32)
    case = {
        "name": f"{list(x.shape)} {ours}", "reduction": ours, "upstream": golden.tensor(upstream),
        "input": golden.tensor(x), "target": golden.tensor(y),
        "sample_weights": None if weights is None else golden.tensor(weights),
    }
    for name, values in double.items():
        error = (single[name] - values).abs().max() / values.abs().max()
        case |= {name: golden.tensor(values), f"{name}_f32_error": error.item()}
    return case


golden.write(__file__, list(cases()))
