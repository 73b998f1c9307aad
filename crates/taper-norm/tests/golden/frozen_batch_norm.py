"""Frozen batch normalization by torchvision in f64, with the errors of its own f32: the result and the gradient of
x, with and without a residual and a rectifier after it."""

import golden
import torch
import torchvision
from training import sixteenths


def results(state, x, residual, upstream, dtype):
    layer = torchvision.ops.FrozenBatchNorm2d(x.shape[1], eps=1e-3).to(dtype)
    layer.load_state_dict(state)
    x, residual = [it.to(dtype, copy=True).requires_grad_() for it in (x, residual)]
    y = layer(x)
    (y * upstream.to(dtype)).sum().backward()
    found = {"y": y.detach(), "x gradient": x.grad.clone()}
    x.grad = None
    y = torch.relu(layer(x) + residual)
    (y * upstream.to(dtype)).sum().backward()
    return found | {"relu y": y.detach(), "relu x gradient": x.grad, "relu residual gradient": residual.grad}


def cases():
    torch.manual_seed(7)
    for shape in [(3, 2, 2, 3), (1, 4, 3, 1)]:
        x, residual, upstream = [sixteenths(2 * torch.randn(shape) + 1) for _ in range(3)]
        state = torchvision.ops.FrozenBatchNorm2d(shape[1]).state_dict()
        state = {name: 0.5 + sixteenths(torch.rand(shape[1])) for name in state}
        double = results(state, x, residual, upstream, torch.float64)
        single = results(state, x, residual, upstream, torch.float32)
        case = {
            "name": str(list(shape)), "eps": 1e-3, "state": list(state), "results": list(double),
            "x": golden.tensor(x), "residual": golden.tensor(residual), "upstream": golden.tensor(upstream),
        }
        case |= {f"state {name}": golden.tensor(values) for name, values in state.items()}
        for name, values in double.items():
            error = (single[name] - values).abs().max() / values.abs().max()
            case |= {name: golden.tensor(values), f"{name} f32_error": error.item()}
        yield case


golden.write(__file__, list(cases()))
