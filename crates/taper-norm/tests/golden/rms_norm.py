"""Root-mean-square normalization by PyTorch in f64, with the errors of its own f32: the result and its gradients."""

import golden
import torch

CASES = [
    ((4,), (4,), {}),
    ((6, 3), (3,), {}),
    ((2, 3, 40), (40,), {}),
    ((2, 3, 2, 5), (2, 5), {}),
    ((3, 7), (7,), {"eps": 0.25}),
    ((3, 7), (7,), {"elementwise_affine": False}),
]


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def results(state, x, upstream, shape, options, dtype):
    layer = torch.nn.RMSNorm(shape, **options).to(dtype)
    layer.load_state_dict(state)
    x = x.to(dtype, copy=True).requires_grad_()
    y = layer(x)
    (y * upstream.to(dtype)).sum().backward()
    found = {"y": y.detach(), "x gradient": x.grad}
    return found | {f"{name} gradient": p.grad for name, p in layer.named_parameters()}


def cases():
    torch.manual_seed(4)
    for shape, trailing, options in CASES:
        x, upstream = sixteenths(2 * torch.randn(shape) + 3), sixteenths(torch.randn(shape))
        state = torch.nn.RMSNorm(trailing, **options).state_dict()
        for name in list(state):
            state[name] = 0.5 + sixteenths(torch.rand(trailing))
        double = results(state, x, upstream, trailing, options, torch.float64)
        single = results(state, x, upstream, trailing, options, torch.float32)
        case = {
            "name": f"{list(shape)} {list(trailing)} {options}", "normalized_shape": list(trailing),
            "eps": options.get("eps"),
            "elementwise_affine": options.get("elementwise_affine", True),
            "state": list(state), "results": list(double),
            "x": golden.tensor(x), "upstream": golden.tensor(upstream),
        }
        case |= {f"state {name}": golden.tensor(values) for name, values in state.items()}
        for name, values in double.items():
            error = (single[name] - values).abs().max() / values.abs().max()
            case |= {name: golden.tensor(values), f"{name} f32_error": error.item()}
        yield case


golden.write(__file__, list(cases()))
