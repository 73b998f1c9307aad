"""The Jensen-Shannon divergence by its equation, which is held to the square of SciPy's distance."""

import itertools

import losses
import torch
from scipy.spatial.distance import jensenshannon
from torch.nn.functional import kl_div

FORMS = ("probabilities", "log_probabilities", "logits")


def log_of(form, x):
    return {"probabilities": torch.log, "log_probabilities": lambda x: x,
            "logits": lambda x: x.log_softmax(1)}[form](x)


def divergence(case, x):
    log_p, log_q = log_of(case["form"], x), log_of(case["other_form"], case["other"])
    log_m = ((log_p.exp() + log_q.exp()) / 2).log()
    both = [kl_div(log_m, log.exp(), reduction="none").sum(1) for log in (log_p, log_q)]
    return (both[0] + both[1]) / 2


def numbers(form, shape):
    if form == "logits":
        return losses.normal(*shape, scale=3)
    # Not quite distributions, of which the equation does not ask: sixteenths are the same in f32.
    p = losses.uniform(*shape, low=0.125, high=0.875)
    return p if form == "probabilities" else losses.sixteenths(p.log())


def cases():
    for shape, role in itertools.product(((4, 5), (2, 3, 2)), ("first", "second")):
        for form, other_form in itertools.product(FORMS, FORMS):
            yield {"role": role, "form": form, "other_form": other_form,
                   "input": numbers(form, shape), "other": numbers(other_form, shape)}


def agree_with_scipy():
    p, q = torch.randn(2, 4, 5, dtype=torch.float64).softmax(2)
    case = {"form": "probabilities", "other_form": "probabilities", "other": q}
    theirs = torch.from_numpy(jensenshannon(p, q, axis=1) ** 2)
    torch.testing.assert_close(divergence(case, p), theirs, rtol=1e-12, atol=1e-12)


agree_with_scipy()
losses.write(__file__, cases, divergence)
