"""What a layer with state does in a few training steps from a loaded state, and in an evaluation after them."""

import golden
import torch


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def _results(layer, state, inputs, upstreams, forward, dtype):
    layer = layer.to(dtype)
    layer.load_state_dict(state)
    found = {}
    for step, (x, upstream) in enumerate(zip(inputs, upstreams)):
        mode = "train" if step < len(inputs) - 1 else "eval"
        layer.train(mode == "train")
        layer.zero_grad()
        x = x.to(dtype, copy=True).requires_grad_()
        y = forward(layer, x, step)
        (y * upstream.to(dtype)).sum().backward()
        found |= {f"{mode} y": y.detach(), f"{mode} x gradient": x.grad}
        found |= {f"{mode} {name} gradient": p.grad.clone() for name, p in layer.named_parameters()}
    return found | dict(layer.named_buffers())


def case(entries, make, inputs, upstreams, forward=lambda layer, x, step: layer(x)):
    """`entries` and: the state dict of `make()` with made-up numbers, the inputs and upstream gradients, and the
    results in f64 with the relative error of the same in f32.

    All inputs but the last are steps in training: recorded are y and the gradients of the last of them, those of
    the evaluation, and the buffers.
    """
    state = make().state_dict()
    for name in [name for name in state if not name.endswith("num_batches_tracked")]:
        # Vectors are factors, biases and statistics; what has more axes mixes, with both signs.
        shape = state[name].shape
        mixes = len(shape) > 1
        state[name] = sixteenths(torch.randn(shape) / 2) if mixes else 0.5 + sixteenths(torch.rand(shape))
    double = _results(make(), state, inputs, upstreams, forward, torch.float64)
    single = _results(make(), state, inputs, upstreams, forward, torch.float32)
    case = entries | {"steps": len(inputs) - 1, "state": list(state), "results": list(double)}
    case |= {f"state {name}": golden.tensor(values) for name, values in state.items()}
    for step, (x, upstream) in enumerate(zip(inputs, upstreams)):
        case |= {f"input {step}": golden.tensor(x), f"upstream {step}": golden.tensor(upstream)}
    for name, values in double.items():
        error = (single[name] - values).abs().max() / values.abs().max()
        case |= {name: golden.tensor(values), f"{name} f32_error": error.item()}
    return case
