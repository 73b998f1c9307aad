"""Learning-rate schedules: the rate of each step from torch.optim.lr_scheduler, at base 1."""

import json
import warnings

import golden
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR, StepLR

warnings.simplefilter("ignore")


def warmup(start, steps, then):
    def make(optimizer):
        first = LinearLR(optimizer, start_factor=start, total_iters=steps)
        return SequentialLR(optimizer, [first, then(optimizer)], milestones=[steps])

    return make


def cosine(steps, least):
    return lambda optimizer: CosineAnnealingLR(optimizer, steps, eta_min=least)


def drops(every, gamma):
    return lambda optimizer: StepLR(optimizer, every, gamma)


COSINE = {"cosine": {"steps": 20, "min_factor": 0.0}}
DROPS = {"step": {"every": 7, "gamma": 0.3}}
SCHEDULES = [
    (DROPS, drops(7, 0.3), 30),
    (COSINE, cosine(20, 0.0), 21),
    ({"cosine": {"steps": 20, "min_factor": 0.1}}, cosine(20, 0.1), 21),
    (
        {"warmup": {"steps": 5, "start_factor": 0.2, "then": COSINE}},
        warmup(0.2, 5, cosine(20, 0.0)),
        26,
    ),
    (
        {"warmup": {"steps": 5, "start_factor": 0.2, "then": DROPS}},
        warmup(0.2, 5, drops(7, 0.3)),
        30,
    ),
]


def rates(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


cases = [
    {"schedule": json.dumps(form), "factors": rates(make, steps)}
    for form, make, steps in SCHEDULES
]
golden.write(__file__, cases)
