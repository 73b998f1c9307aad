"""Optimizers: ten steps with given gradients, two groups, a parameter that some steps leave out, and
a learning rate that changes on the way."""

import golden
import torch

torch.manual_seed(2)
SHAPES = ((2, 3), (3,), (2,))
START = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
GRADIENTS = [[torch.randn(shape, dtype=torch.float64) for shape in SHAPES] for _ in range(10)]
OPTIMIZERS = [
    ("sgd", torch.optim.SGD, {}),
    ("sgd", torch.optim.SGD, {"weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("adam", torch.optim.Adam, {}),
    ("adam", torch.optim.Adam, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("adamw", torch.optim.AdamW, {}),
    ("adamw", torch.optim.AdamW, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
]


def run(name, make, options):
    a, b, c = [torch.nn.Parameter(values.clone()) for values in START]
    groups = [{"params": [a, b]}, {"params": [c], "lr": 0.02, "weight_decay": 0.3}]
    # The plain implementation: the one for many tensors rounds in another order.
    optimizer = make(groups, lr=0.05, foreach=False, **options)
    after = []
    for step, gradients in enumerate(GRADIENTS):
        if step == 6:
            optimizer.param_groups[0]["lr"] = 0.01
        a.grad, b.grad, c.grad = gradients
        if step in (0, 4):
            b.grad = None
        optimizer.step()
        after.append(flat([a, b, c]))
    case = {"name": name}
    case |= {key: value for key, value in options.items() if key != "betas"}
    case |= dict(zip(("beta1", "beta2"), options.get("betas", (0.9, 0.999))))
    return case | {"after": golden.tensor(torch.stack(after))}


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


# The first case holds what all start from: one row a step, the parameters one after the other.
given = {"name": "given", "start": golden.tensor(flat(START))}
given["gradients"] = golden.tensor(torch.stack([flat(step) for step in GRADIENTS]))
golden.write(__file__, [given] + [run(*optimizer) for optimizer in OPTIMIZERS])
