"""Ghost batch normalization: PyTorch's batch normalization on one virtual batch after the other in training, and on
the whole batch in evaluation; in f64 with the errors of its own f32."""

import golden
import torch
import training
from training import sixteenths

LAYERS = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}
STEPS = 2
CASES = [
    ((8, 3), 4, {}),
    # A smaller last one; one of a single sample with places; one larger than the batch.
    ((7, 3), 5, {"momentum": 0.4}),
    ((5, 2, 3), 2, {"momentum": None}),
    ((4, 2, 2, 2), 64, {}),
    ((6, 2, 2), 3, {"affine": False}),
]


def cases():
    torch.manual_seed(6)
    for shape, size, options in CASES:
        draw = lambda: [sixteenths(2 * torch.randn(shape) + 3) for _ in range(STEPS + 1)]

        def forward(layer, x, step):
            return torch.cat([layer(part) for part in x.split(size)]) if layer.training else layer(x)

        entries = {
            "name": f"{list(shape)} {size} {options}", "virtual_batch_size": size, "eps": 1e-5,
            "momentum": options.get("momentum", 0.1), "affine": options.get("affine", True),
            "track_running_stats": True,
        }
        layer = lambda: LAYERS[len(shape)](shape[1], **options)
        yield training.case(entries, layer, draw(), draw(), forward)


golden.write(__file__, list(cases()))
