"""Spectral normalization by PyTorch in f64, with the errors of its own f32: from a loaded state, in training steps with
another raw weight each and an evaluation after them, the weight, the gradient of the raw weight, and the vectors. A
raw weight without state has its singular values too."""

import golden
import torch
from torch.nn.utils import parametrizations
from training import sixteenths

STEPS = 2
CASES = [
    ("linear", lambda: torch.nn.Linear(4, 5, bias=False), {}),
    ("conv2d", lambda: torch.nn.Conv2d(2, 2, (2, 3), bias=False), {}),
    ("dim 1", lambda: torch.nn.Conv2d(2, 3, (1, 3), bias=False), {"dim": 1}),
    ("transposed", lambda: torch.nn.ConvTranspose2d(2, 3, 2, bias=False), {"dim": 1}),
    ("two iterations", lambda: torch.nn.Linear(4, 3, bias=False), {"n_power_iterations": 2}),
    ("eps", lambda: torch.nn.Linear(3, 3, bias=False), {"eps": 6.0}),
]


class Vector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(5))


def raw(layer):
    return layer.parametrizations.weight.original


def vectors(layer):
    return {name.rsplit(".")[-1]: it.clone() for name, it in layer.named_buffers()}


def results(make, options, state, weights, upstreams, dtype):
    layer = parametrizations.spectral_norm(make(), **options).to(dtype)
    layer.load_state_dict(state)
    found = {}
    for step, (weight, upstream) in enumerate(zip(weights, upstreams)):
        layer.train(step < STEPS)
        with torch.no_grad():
            raw(layer).copy_(weight)
        raw(layer).grad = None
        normalized = layer.weight
        (normalized * upstream.to(dtype)).sum().backward()
        found |= {f"weight {step}": normalized.detach().clone(), f"gradient {step}": raw(layer).grad.clone()}
        found |= {f"{name} {step}": values for name, values in vectors(layer).items()}
    return found


def case(name, make, options):
    layer = parametrizations.spectral_norm(make(), **options)
    state = layer.state_dict()
    for key in state:
        state[key] = sixteenths(torch.randn(state[key].shape))
    shape = raw(layer).shape
    weights = [sixteenths(torch.randn(shape)) for _ in range(STEPS + 1)]
    upstreams = [sixteenths(torch.randn(shape)) for _ in range(STEPS + 1)]
    double = results(make, options, state, weights, upstreams, torch.float64)
    single = results(make, options, state, weights, upstreams, torch.float32)
    case = {
        "name": name, "shape": list(shape), "dim": options.get("dim", 0), "eps": options.get("eps", 1e-12),
        "n_power_iterations": options.get("n_power_iterations", 1), "steps": STEPS,
        "state": list(state), "results": list(double),
    }
    case |= {f"state {key}": golden.tensor(values) for key, values in state.items()}
    for step, (weight, upstream) in enumerate(zip(weights, upstreams)):
        case |= {f"raw {step}": golden.tensor(weight), f"upstream {step}": golden.tensor(upstream)}
    for key, values in double.items():
        error = (single[key] - values).abs().max() / values.abs().max()
        case |= {key: golden.tensor(values), f"{key} f32_error": error.item()}
    last = weights[-1].double().movedim(case["dim"], 0)
    if last.dim() > 1:
        case["singular values"] = golden.tensor(torch.linalg.svdvals(last.flatten(1)))
    return case


def cases():
    torch.manual_seed(11)
    for arguments in CASES + [("vector", Vector, {}), ("short vector", Vector, {"eps": 8.0})]:
        yield case(*arguments)


golden.write(__file__, list(cases()))
