"""The cross-entropy and its gradient by PyTorch in f64, with the errors of its own f32.

`reduction` is taper-losses' name: PyTorch's `mean` is the mean over the weights for class indices and
the mean over the count for probabilities. Sample weights and masks, which PyTorch lacks, act on its
unreduced losses.
"""

import golden
import torch
from torch.nn.functional import cross_entropy

DEFAULTS = {"shape": (6, 5), "ignore_index": None, "smoothing": 0.0, "weighted": False, "soft": False,
            "sample_weights": None, "mask": None, "scale": 3.0, "class_axis": None}
SHAPES = [(4,), (6, 5), (2, 4, 3), (2, 3, 2, 2)]
OPTIONS = [
    {},
    {"weighted": True},
    {"ignore_index": -100},
    {"weighted": True, "ignore_index": 1},
    {"smoothing": 0.1},
    {"smoothing": 0.3, "weighted": True, "ignore_index": 2},
    {"soft": True},
    {"soft": True, "smoothing": 0.2},
    {"soft": True, "weighted": True},
]


def evaluate(case, reduction, upstream, dtype):
    """The loss and the gradient of Σ upstream · loss (upstream is 1 where the loss is one number)."""
    logits = case["logits"].to(dtype, copy=True).requires_grad_()
    axis = case["class_axis"]
    target = case["target"].to(dtype) if case["soft"] else case["target"]
    loss = cross_entropy(
        logits if axis is None else logits.movedim(axis, 1),
        target if axis is None or not case["soft"] else target.movedim(axis, 1),
        weight=None if case["class_weights"] is None else case["class_weights"].to(dtype),
        ignore_index=-100 if case["ignore_index"] is None else case["ignore_index"],
        label_smoothing=case["smoothing"],
        reduction="none" if own_reduction(case) else reduction,
    )
    if own_reduction(case):
        loss = reduce(loss, case, reduction, dtype)
    (loss * upstream.to(dtype)).sum().backward()
    return {"value": loss.detach(), "gradient": logits.grad}


def own_reduction(case):
    return case["sample_weights"] is not None or case["mask"] is not None


def reduce(loss, case, reduction, dtype):
    """By sample weights and mask of the leading part of the shape, without class weights."""
    weights = torch.ones(()) if case["sample_weights"] is None else case["sample_weights"]
    mask = torch.ones(()) if case["mask"] is None else case["mask"]
    weights, mask = (x.reshape(x.shape + (1,) * (loss.dim() - x.dim())).expand(loss.shape).to(dtype)
                     for x in (weights, mask))
    loss = loss * weights * mask
    return {"none": loss, "sum": loss.sum(), "mean": loss.sum() / (weights * mask).sum()}[reduction]


def made(options):
    case = DEFAULTS | options
    shape = case["shape"]
    axis = (0 if len(shape) == 1 else 1) if case["class_axis"] is None else case["class_axis"]
    classes = shape[axis]
    labels_shape = shape[:axis] + shape[axis + 1:]
    case["logits"] = sixteenths(case["scale"] * torch.randn(shape))
    case["class_weights"] = 0.25 + sixteenths(torch.rand(classes)) if case["weighted"] else None
    if case["soft"]:
        counts = torch.randint(1, 9, shape).float()
        case["target"] = counts / counts.sum(axis, keepdim=True)
    else:
        case["target"] = torch.randint(classes, labels_shape)
        if case["ignore_index"] is not None and labels_shape:
            case["target"].view(-1)[::3] = case["ignore_index"]
            case["target"].view(-1)[1] = 0
    return case


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def cases():
    torch.manual_seed(1)
    grid = [options | {"shape": shape} for shape in SHAPES[1:] for options in OPTIONS]
    grid += [{"shape": SHAPES[0]}, {"shape": SHAPES[0], "soft": True}, {"scale": 1e4}]
    grid += [{"shape": (2, 2, 3, 5), "class_axis": 3}, {"shape": (2, 5, 3), "class_axis": 2, "soft": True}]
    grid += [{"sample_weights": sixteenths(torch.rand(6))}, {"mask": torch.tensor([1, 0, 1, 1, 0, 1])}]
    grid += [{"shape": (2, 4, 3), "sample_weights": sixteenths(torch.rand(2)), "mask": torch.randint(2, (2, 3))}]
    for options in grid:
        case = made(options)
        names = {"none": "none", "sum": "sum"}
        names |= {"mean": "mean"} if case["soft"] else {"weighted_mean": "mean"}
        # Every reduction at one shape; elsewhere the mean, which holds the sum.
        names = names if case["shape"] == DEFAULTS["shape"] else dict([names.popitem()])
        for ours, theirs in names.items():
            yield row(case, ours, theirs)


def row(case, ours, theirs):
    shape = case["target"].shape[:1] if case["soft"] else case["target"].shape
    upstream = sixteenths(torch.randn(shape)) if theirs == "none" else torch.tensor(1.0)
    double = evaluate(case, theirs, upstream, torch.float64)
    single = evaluate(case, theirs, upstream, torch.float32)
    tensors = {"logits", "target", "class_weights", "sample_weights", "mask"}
    kept = {key: golden.tensor(value) if key in tensors and value is not None else value
            for key, value in case.items() if key not in ("shape", "weighted", "scale")}
    kept |= {"name": f"{list(case['shape'])} {ours}", "reduction": ours, "upstream": golden.tensor(upstream)}
    for name, values in double.items():
        error = (single[name] - values).abs().max() / values.abs().max()
        kept |= {name: golden.tensor(values), f"{name}_f32_error": error.item()}
    return kept


golden.write(__file__, list(cases()))
