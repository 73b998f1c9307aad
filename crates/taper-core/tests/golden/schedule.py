"""Learning-rate schedules: the rate of each step from torch.optim.lr_scheduler, at base 1."""

import json
import warnings

import golden
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, SequentialLR, StepLR

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


def cycle(steps, pct_start, anneal, div_factor, final_div_factor, three_phase):
    form = {
        "steps": steps,
        "pct_start": pct_start,
        "anneal": anneal,
        "div_factor": div_factor,
        "final_div_factor": final_div_factor,
        "three_phase": three_phase,
    }

    def make(optimizer):
        return OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=steps,
            pct_start=pct_start,
            anneal_strategy={"cosine": "cos"}.get(anneal, anneal),
            cycle_momentum=False,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
        )

    return {"one_cycle": form}, make, steps


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
    # The turning points of 20 steps fall on steps, those of 23 do not.
    cycle(20, 0.3, "cosine", 25.0, 1e4, False),
    cycle(23, 0.3, "cosine", 25.0, 1e4, True),
    cycle(23, 0.37, "linear", 10.0, 50.0, False),
    cycle(20, 0.4, "linear", 10.0, 50.0, True),
    # A first rate above the highest, and a last above the first.
    cycle(11, 0.5, "cosine", 0.5, 0.25, True),
    # No rise, a turning point before the first step, no fall, one step.
    cycle(10, 0.0, "cosine", 25.0, 1e4, False),
    cycle(10, 0.05, "linear", 25.0, 1e4, True),
    cycle(10, 1.0, "cosine", 25.0, 1e4, False),
    cycle(1, 0.3, "cosine", 25.0, 1e4, False),
]


def rates(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


cases = [
    {"schedule": json.dumps(form), "factors": rates(make, steps)}
    for form, make, steps in SCHEDULES
]
golden.write(__file__, cases)
