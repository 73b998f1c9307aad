"""The binary cross-entropy of logits and its gradient by PyTorch in f64, with the errors of its own f32.

`reduction` is taper-losses' name: PyTorch's `mean` is the mean over the count.
"""

import golden
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

NAMES = ("none", "sum", "mean")


def evaluate(case, upstream, dtype):
    """The loss and the gradient of Σ upstream · loss (upstream is 1 where the loss is one number)."""
    logits = case["logits"].to(dtype, copy=True).requires_grad_()
    weights = {key: None if case[key] is None else case[key].to(dtype) for key in ("sample_weights", "pos_weight")}
    loss = binary_cross_entropy_with_logits(
        logits,
        case["target"].to(dtype),
        weight=weights["sample_weights"],
        pos_weight=weights["pos_weight"],
        reduction=case["reduction"],
    )
    (loss * upstream.to(dtype)).sum().backward()
    return {"value": loss.detach(), "gradient": logits.grad}


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def cases():
    torch.manual_seed(3)
    for shape, scale in [((5,), 3), ((4, 3), 3), ((2, 3, 2, 2), 3), ((3, 40), 8), ((3, 3), 1e4)]:
        for weighted, positive in [(False, None), (True, None), (False, 1), (True, len(shape))]:
            for reduction in NAMES:
                hard = scale == 1e4
                case = {
                    "name": f"{list(shape)} {reduction}", "reduction": reduction,
                    "logits": sixteenths(scale * torch.randn(shape)),
                    "target": torch.randint(2, shape).float() if hard else sixteenths(torch.rand(shape)),
                    "sample_weights": sixteenths(torch.rand(shape)) if weighted else None,
                    "pos_weight": 4 * sixteenths(torch.rand(shape[-positive:])) if positive else None,
                }
                yield row(case, sixteenths(torch.randn(shape)) if reduction == "none" else torch.tensor(1.0))


def row(case, upstream):
    double = evaluate(case, upstream, torch.float64)
    single = evaluate(case, upstream, torch.float32)
    kept = {key: golden.tensor(value) if torch.is_tensor(value) else value for key, value in case.items()}
    kept |= {"upstream": golden.tensor(upstream)}
    for name, values in double.items():
        error = (single[name] - values).abs().max() / values.abs().max()
        kept |= {name: golden.tensor(values), f"{name}_f32_error": error.item()}
    return kept


golden.write(__file__, list(cases()))
