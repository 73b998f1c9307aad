"""Weight standardization by timm in f64, with the errors of its own f32: the output of its convolution, of which ours
takes the weight, and the gradient of the raw weight."""

import golden
import torch
from timm.layers import StdConv2d
from training import sixteenths


def results(make, state, x, upstream, dtype):
    layer = make().to(dtype)
    layer.load_state_dict(state)
    y = layer(x.to(dtype))
    (y * upstream.to(dtype)).sum().backward()
    return {"y": y.detach(), "weight gradient": layer.weight.grad}


def cases():
    torch.manual_seed(13)
    for shape, groups, eps in [((4, 3, 3, 3), 1, 1e-6), ((6, 2, 1, 1), 2, 1e-6), ((2, 2, 2, 3), 1, 0.25)]:
        make = lambda: StdConv2d(shape[1] * groups, shape[0], shape[2:], padding=0, groups=groups, eps=eps)
        state = {"weight": sixteenths(torch.randn(shape) + 1)}
        x = sixteenths(torch.randn(2, shape[1] * groups, 4, 4))
        upstream = sixteenths(torch.randn(make()(x).shape))
        double = results(make, state, x, upstream, torch.float64)
        single = results(make, state, x, upstream, torch.float32)
        case = {
            "name": f"{list(shape)} groups={groups}", "groups": groups, "eps": eps, "results": list(double),
            "weight": golden.tensor(state["weight"]), "x": golden.tensor(x), "upstream": golden.tensor(upstream),
        }
        for name, values in double.items():
            error = (single[name] - values).abs().max() / values.abs().max()
            case |= {name: golden.tensor(values), f"{name} f32_error": error.item()}
        yield case


golden.write(__file__, list(cases()))
