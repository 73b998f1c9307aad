"""Batch normalization of padded inputs: PyTorch's BatchNorm1d on the rows of what is there, their results put back
among zeros; in f64 with the errors of its own f32, over training steps and an evaluation."""

import golden
import torch
import training
from training import sixteenths

STEPS = 2
CASES = [
    ((6, 3), {}),
    ((4, 2, 5), {"momentum": 0.4}),
    ((3, 2, 2, 3), {"momentum": None}),
    ((4, 3, 3), {"affine": False}),
]


def mask(shape):
    """Of some places, enough for gradients that do not cancel."""
    while (there := torch.rand(shape) < 0.6).sum() < 4:
        pass
    return there


def cases():
    torch.manual_seed(5)
    for shape, options in CASES:
        draw = lambda: [sixteenths(2 * torch.randn(shape) + 3) for _ in range(STEPS + 1)]
        inputs, upstreams = draw(), draw()
        masks = [mask(shape[:1] + shape[2:]) for _ in range(STEPS + 1)]

        def forward(layer, x, step):
            y = torch.zeros_like(x).movedim(1, -1)
            y[masks[step]] = layer(x.movedim(1, -1)[masks[step]])
            return y.movedim(-1, 1)

        entries = {
            "name": f"{list(shape)} {options}", "eps": 1e-5, "momentum": options.get("momentum", 0.1),
            "affine": options.get("affine", True), "track_running_stats": True,
        }
        entries |= {f"mask {step}": golden.tensor(there.int()) for step, there in enumerate(masks)}
        yield training.case(
            entries, lambda: torch.nn.BatchNorm1d(shape[1], **options), inputs, upstreams, forward
        )


golden.write(__file__, list(cases()))
