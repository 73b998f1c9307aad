"""Upsampling: values and gradients of sum(y * cotangent), in f64."""

import golden
import torch
import torch.nn.functional as F

torch.manual_seed(1)


def case(mode, shape, align_corners=None, **to):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    # F.interpolate wants a batch.
    batch = x if x.dim() == 4 else x[None]
    y = F.interpolate(batch, mode=mode, align_corners=align_corners, **to)
    y = y if x.dim() == 4 else y[0]
    cotangent = torch.randn_like(y)
    y.backward(cotangent)
    values = {"x": x, "cotangent": cotangent, "y": y, "dx": x.grad}
    tensors = {key: golden.tensor(value) for key, value in values.items()}
    return {"mode": mode, "align_corners": align_corners} | to | tensors


golden.write(
    __file__,
    [
        case("nearest", (2, 2, 3, 4), scale_factor=[2.0, 2.0]),
        case("nearest", (1, 2, 3, 5), scale_factor=[1.5, 3.0]),
        case("nearest", (1, 1, 7, 6), size=[3, 17]),
        case("nearest", (2, 3, 4), size=[3, 8]),
        case("bilinear", (2, 2, 3, 4), align_corners=False, scale_factor=[2.0, 2.0]),
        case("bilinear", (2, 2, 3, 4), align_corners=True, scale_factor=[2.0, 2.0]),
        case("bilinear", (1, 2, 3, 5), align_corners=False, scale_factor=[1.7, 2.6]),
        case("bilinear", (1, 2, 3, 5), align_corners=True, scale_factor=[1.7, 2.6]),
        case("bilinear", (1, 1, 7, 6), align_corners=False, size=[3, 17]),
        case("bilinear", (1, 1, 7, 6), align_corners=True, size=[3, 17]),
        case("bilinear", (1, 1, 1, 3), align_corners=True, size=[4, 1]),
    ],
)
