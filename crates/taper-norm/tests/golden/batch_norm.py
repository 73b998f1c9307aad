"""Batch normalization by PyTorch in f64, with the errors of its own f32: three training steps from a
loaded state, the gradients of the last one, the state after it, and an evaluation with its gradients."""

import golden
import torch
import training
from training import sixteenths

LAYERS = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
STEPS = 3
CASES = [
    ((6, 3), {}),
    ((4, 3, 5), {}),
    ((3, 2, 2, 3), {}),
    ((2, 2, 2, 1, 3), {}),
    ((6, 3), {"eps": 0.25, "momentum": 0.4}),
    ((5, 2, 2), {"momentum": None}),
    ((5, 3), {"affine": False}),
    ((4, 2, 3), {"track_running_stats": False}),
]


def cases():
    torch.manual_seed(4)
    for shape, options in CASES:
        inputs = [sixteenths(2 * torch.randn(shape) + 3) for _ in range(STEPS + 1)]
        upstreams = [sixteenths(torch.randn(shape)) for _ in range(STEPS + 1)]
        entries = {
            "name": f"{list(shape)} {options}",
            "eps": options.get("eps", 1e-5), "momentum": options.get("momentum", 0.1),
            "affine": options.get("affine", True),
            "track_running_stats": options.get("track_running_stats", True),
        }
        yield training.case(entries, lambda: LAYERS[len(shape)](shape[1], **options), inputs, upstreams)


golden.write(__file__, list(cases()))
