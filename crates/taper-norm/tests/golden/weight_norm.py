"""Weight normalization by PyTorch in f64, with the errors of its own f32: the weight and the gradients of its parts."""

import golden
import torch
from torch.nn.utils.parametrizations import weight_norm
from training import sixteenths

CASES = [
    ("linear", lambda: torch.nn.Linear(5, 3, bias=False), 0),
    ("linear dim 1", lambda: torch.nn.Linear(5, 3, bias=False), 1),
    ("linear whole", lambda: torch.nn.Linear(4, 2, bias=False), None),
    ("conv1d", lambda: torch.nn.Conv1d(2, 3, 4, bias=False), 0),
    ("conv2d", lambda: torch.nn.Conv2d(4, 6, 3, groups=2, bias=False), 0),
    ("transposed conv2d dim 1", lambda: torch.nn.ConvTranspose2d(3, 2, 2, bias=False), 1),
]


def results(make, dim, state, upstream, dtype):
    layer = weight_norm(make(), dim=dim).to(dtype)
    layer.load_state_dict(state)
    weight = layer.weight
    (weight * upstream.to(dtype)).sum().backward()
    gradients = {f"{name} gradient": p.grad for name, p in layer.named_parameters()}
    return {"weight": weight.detach()} | gradients


def cases():
    torch.manual_seed(12)
    for name, make, dim in CASES:
        state = weight_norm(make(), dim=dim).state_dict()
        state = {name: sixteenths(torch.randn(values.shape)) for name, values in state.items()}
        upstream = sixteenths(torch.randn(make().weight.shape))
        double = results(make, dim, state, upstream, torch.float64)
        single = results(make, dim, state, upstream, torch.float32)
        case = {
            "name": name, "shape": list(upstream.shape), "dim": dim,
            "state": list(state), "results": list(double), "upstream": golden.tensor(upstream),
        }
        case |= {f"state {name}": golden.tensor(values) for name, values in state.items()}
        for name, values in double.items():
            error = (single[name] - values).abs().max() / values.abs().max()
            case |= {name: golden.tensor(values), f"{name} f32_error": error.item()}
        yield case


golden.write(__file__, list(cases()))
