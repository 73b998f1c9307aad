"""Instance normalization by PyTorch in f64, with the errors of its own f32: three training steps from a
loaded state, the gradients of the last one, the state after it, and an evaluation with its gradients."""

import golden
import torch

LAYERS = {3: torch.nn.InstanceNorm1d, 4: torch.nn.InstanceNorm2d, 5: torch.nn.InstanceNorm3d}
STEPS = 3
CASES = [
    ((2, 3, 4), {}),
    ((2, 2, 2, 3), {"affine": True}),
    ((2, 2, 2, 1, 3), {"affine": True, "track_running_stats": True}),
    ((3, 2, 3), {"eps": 0.25, "momentum": 0.4, "track_running_stats": True}),
]


def sixteenths(values):
    """Short numbers that are the same in f32 and f64."""
    return (16 * values).round() / 16


def results(state, inputs, upstreams, options, dtype):
    layer = LAYERS[inputs[0].dim()](inputs[0].shape[1], **options).to(dtype)
    layer.load_state_dict(state)
    found = {}
    for step, (x, upstream) in enumerate(zip(inputs, upstreams)):
        mode = "train" if step < STEPS else "eval"
        layer.train(mode == "train")
        layer.zero_grad()
        x = x.to(dtype, copy=True).requires_grad_()
        y = layer(x)
        (y * upstream.to(dtype)).sum().backward()
        found |= {f"{mode} y": y.detach(), f"{mode} x gradient": x.grad}
        found |= {f"{mode} {name} gradient": p.grad.clone() for name, p in layer.named_parameters()}
    found |= {name: buffer for name, buffer in layer.named_buffers() if name != "num_batches_tracked"}
    return found


def cases():
    torch.manual_seed(4)
    for shape, options in CASES:
        inputs = [sixteenths(2 * torch.randn(shape) + 3) for _ in range(STEPS + 1)]
        upstreams = [sixteenths(torch.randn(shape)) for _ in range(STEPS + 1)]
        state = LAYERS[len(shape)](shape[1], **options).state_dict()
        for name in [name for name in state if name != "num_batches_tracked"]:
            state[name] = 0.5 + sixteenths(torch.rand(shape[1]))
        double = results(state, inputs, upstreams, options, torch.float64)
        single = results(state, inputs, upstreams, options, torch.float32)
        case = {
            "name": f"{list(shape)} {options}", "steps": STEPS,
            "eps": options.get("eps", 1e-5), "momentum": options.get("momentum", 0.1),
            "affine": options.get("affine", False),
            "track_running_stats": options.get("track_running_stats", False),
            "state": list(state), "results": list(double),
        }
        case |= {f"state {name}": golden.tensor(values) for name, values in state.items()}
        for step, (x, upstream) in enumerate(zip(inputs, upstreams)):
            case |= {f"input {step}": golden.tensor(x), f"upstream {step}": golden.tensor(upstream)}
        for name, values in double.items():
            error = (single[name] - values).abs().max() / values.abs().max()
            case |= {name: golden.tensor(values), f"{name} f32_error": error.item()}
        yield case


golden.write(__file__, list(cases()))
