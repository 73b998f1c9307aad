"""Golden cases of losses: random arguments, the value and the gradient in f64, and the errors of the reference's f32.

A script gives the unreduced losses by a reference implementation, `losses(case, x)`, in PyTorch's operations or by a
library. `case` is a dictionary of tensors and parameters, `x` its entry `of`, which has the gradient. Weights, mask
and reduction, which references lack or mean differently, act on the unreduced losses as taper-losses documents.
"""

import itertools

import golden
import torch

REDUCTIONS = ("none", "sum", "mean", "weighted_mean")
SHAPES = ((5,), (4, 3), (2, 3, 2, 2))


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def normal(*shape, scale=1.0):
    return sixteenths(scale * torch.randn(shape))


def uniform(*shape, low=0.0, high=1.0):
    return sixteenths(low + (high - low) * torch.rand(shape))


def write(script, cases, losses, of="input", weigh=None, seed=1, counts=None, plain=False):
    """Writes one row for each case of `cases()`.

    Rows go through the reductions in turn, and through: neither weights nor a mask, weights, a mask, both, of the
    first axis or of all. `weigh(case)`, where class weights are, gives that part of the weights of a weighted mean,
    and `counts(case)` which losses count beside those that the mask leaves out. `plain` cases are not reduced.
    """
    torch.manual_seed(seed)
    turns = (("none", 0),) if plain else itertools.product(REDUCTIONS, (0, 1, 2, 3))
    turns = zip(itertools.cycle(turns), cases())
    golden.write(script, [_row(case, losses, of, weigh, counts, *turn) for turn, case in turns])


def _row(case, losses, of, weigh, counts, reduction, kind):
    case = dict(case)
    shape = losses(case, case[of]).shape
    if shape:
        leading = shape[:1] if kind == 3 else shape
        case["sample_weights"] = uniform(*leading, low=0.25, high=2.0) if kind in (1, 3) else None
        case["mask"] = None
        if kind in (2, 3):
            case["mask"] = torch.randint(2, shape)
            case["mask"].view(-1)[0] = 1
    upstream = normal(*shape) if reduction == "none" else torch.tensor(1.0)
    double = _evaluate(case, losses, of, weigh, counts, reduction, upstream, torch.float64)
    single = _evaluate(case, losses, of, weigh, counts, reduction, upstream, torch.float32)
    kept = {key: golden.tensor(value) if torch.is_tensor(value) else value for key, value in case.items()}
    kept |= {"name": f"{list(case[of].shape)} {reduction}", "reduction": reduction, "upstream": golden.tensor(upstream)}
    for name, values in double.items():
        error, largest = (single[name] - values).abs().max(), values.abs().max()
        # A gradient that is 0 throughout has no other magnitude.
        kept |= {name: golden.tensor(values), f"{name}_f32_error": (error / largest if largest > 0 else error).item()}
    return kept


def _evaluate(case, losses, of, weigh, counts, reduction, upstream, dtype):
    case = {key: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
            for key, value in case.items()}
    x = case[of].clone().requires_grad_()
    each = losses(case, x)
    spread = lambda t: t.reshape(t.shape + (1,) * (each.dim() - t.dim())).expand(each.shape).to(dtype)
    weights = spread(torch.ones(()) if case.get("sample_weights") is None else case["sample_weights"])
    mask = spread(torch.ones(()) if case.get("mask") is None else case["mask"])
    if case.get("ignore_index") is not None:
        mask = mask * _kept(case)
    if counts is not None:
        mask = mask * counts(case)
    each = torch.where(mask == 0, torch.zeros((), dtype=dtype), each * weights)
    of_classes = 1.0 if weigh is None else weigh(case)
    value = {"none": lambda: each, "sum": each.sum, "mean": lambda: each.sum() / mask.sum(),
             "weighted_mean": lambda: each.sum() / (weights * mask * of_classes).sum()}[reduction]()
    (value * upstream.to(dtype)).sum().backward()
    return {"value": value.detach(), "gradient": x.grad}


def view_cases(shapes=((2, 3), (4, 3), (5, 7)), rounds=4, **parameters):
    """Two views of a batch; `role` says which of them is `input` and so has the gradient."""
    for shape, turn in itertools.product(shapes, range(rounds)):
        yield parameters | {"input": normal(*shape), "other": normal(*shape), "role": ("first", "second")[turn % 2]}


def both(case, x):
    """First and second view."""
    return (x, case["other"]) if case["role"] == "first" else (case["other"], x)


def views(case, x):
    """First and second view, without the pairs that the mask leaves out: each pair meets all others."""
    return tuple(chosen(case, view) for view in both(case, x))


def chosen(case, x):
    """The rows of `x` that the mask does not leave out, and those for which it has nothing."""
    if case.get("mask") is None:
        return x
    mask = case["mask"].bool()
    return torch.cat([x[:len(mask)][mask], x[len(mask):]])


def placed(case, losses):
    """The losses of the chosen rows at their places."""
    if case.get("mask") is None:
        return losses
    mask = case["mask"].bool()
    return torch.zeros(len(mask), dtype=losses.dtype).masked_scatter(mask, losses)


def class_cases(shapes=((6, 5), (2, 4, 3)), scale=3.0, **parameters):
    """Logits against labels and probabilities, with class weights, ignored labels and smoothing."""
    options = [{}, {"weighted": True}, {"ignore_index": 1}, {"smoothing": 0.25}, {"soft": True},
               {"soft": True, "weighted": True, "smoothing": 0.125},
               {"weighted": True, "ignore_index": 2, "smoothing": 0.5}]
    for shape, chosen in itertools.product(shapes, options):
        chosen = {"weighted": False, "ignore_index": None, "smoothing": 0.0, "soft": False} | chosen
        labels_shape = shape[:1] + shape[2:]
        case = parameters | {key: chosen[key] for key in ("ignore_index", "smoothing", "soft")}
        case["input"] = normal(*shape, scale=scale)
        case["class_weights"] = uniform(shape[1], low=0.25, high=2.0) if chosen["weighted"] else None
        if chosen["soft"]:
            counts = torch.randint(1, 9, shape).double()
            case["target"] = counts / counts.sum(1, keepdim=True)
        else:
            case["target"] = torch.randint(shape[1], labels_shape)
            if chosen["ignore_index"] is not None:
                case["target"].view(-1)[::3] = chosen["ignore_index"]
                case["target"].view(-1)[1] = 0
        yield case


def class_target(case, dtype):
    """The smoothed target with its class weights, (N, C, ...)."""
    classes = case["input"].shape[1]
    q = case["target"] if case["soft"] else torch.nn.functional.one_hot(case["target"], classes).movedim(-1, 1)
    q = (1 - case["smoothing"]) * q.to(dtype) + case["smoothing"] / classes
    if case["class_weights"] is not None:
        q = q * case["class_weights"].to(dtype).reshape(-1, *(1,) * (q.dim() - 2))
    return q


def class_weigh(case):
    """The class weight of each sample in a weighted mean."""
    weights = case["class_weights"]
    if weights is None:
        return 1.0
    if case["soft"]:
        return (case["target"] * weights.reshape(-1, *(1,) * (case["target"].dim() - 2))).sum(1)
    return weights[case["target"]]


def _kept(case):
    return case["target"] != case["ignore_index"]
