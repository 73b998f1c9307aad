"""Group normalization by PyTorch in f64, with the errors of its own f32: the result and its gradients."""

import golden
import torch

CASES = [
    ((4, 6), 2, {}),
    ((3, 4, 5), 4, {}),
    ((2, 6, 2, 3), 3, {}),
    ((2, 4, 1, 2, 3), 1, {}),
    ((3, 4, 3), 2, {"eps": 0.25}),
    ((3, 4, 3), 2, {"affine": False}),
]


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def results(state, x, upstream, groups, options, dtype):
    layer = torch.nn.GroupNorm(groups, x.shape[1], **options).to(dtype)
    layer.load_state_dict(state)
    x = x.to(dtype, copy=True).requires_grad_()
    y = layer(x)
    (y * upstream.to(dtype)).sum().backward()
    found = {"y": y.detach(), "x gradient": x.grad}
    return found | {f"{name} gradient": p.grad for name, p in layer.named_parameters()}


def cases():
    torch.manual_seed(4)
    for shape, groups, options in CASES:
        x, upstream = sixteenths(2 * torch.randn(shape) + 3), sixteenths(torch.randn(shape))
        state = torch.nn.GroupNorm(groups, shape[1], **options).state_dict()
        for name in list(state):
            state[name] = 0.5 + sixteenths(torch.rand(shape[1]))
        double = results(state, x, upstream, groups, options, torch.float64)
        single = results(state, x, upstream, groups, options, torch.float32)
        case = {
            "name": f"{list(shape)} in {groups} {options}", "num_groups": groups,
            "eps": options.get("eps", 1e-5), "affine": options.get("affine", True),
            "state": list(state), "results": list(double),
            "x": golden.tensor(x), "upstream": golden.tensor(upstream),
        }
        case |= {f"state {name}": golden.tensor(values) for name, values in state.items()}
        for name, values in double.items():
            error = (single[name] - values).abs().max() / values.abs().max()
            case |= {name: golden.tensor(values), f"{name} f32_error": error.item()}
        yield case


golden.write(__file__, list(cases()))
