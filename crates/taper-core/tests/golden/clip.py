"""Gradient clipping by norm and by value, in f64."""

import golden
import torch

torch.manual_seed(3)
GRADIENTS = [torch.randn(2, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)]


def parameters():
    made = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in GRADIENTS]
    for parameter, gradient in zip(made, GRADIENTS):
        parameter.grad = gradient.clone()
    return made


def case(kind, limit):
    made = parameters()
    case = {"kind": kind, "limit": limit}
    if kind == "norm":
        case["norm"] = torch.nn.utils.clip_grad_norm_(made, limit).item()
    else:
        torch.nn.utils.clip_grad_value_(made, limit)
    for name, gradient, parameter in zip("ab", GRADIENTS, made):
        case |= {name: golden.tensor(gradient), f"{name}_clipped": golden.tensor(parameter.grad)}
    return case


limits = [("norm", limit) for limit in (0.5, 100.0, float("inf"), 0.0)]
golden.write(__file__, [case(*limit) for limit in limits + [("value", 0.7), ("value", 0.0)]])
