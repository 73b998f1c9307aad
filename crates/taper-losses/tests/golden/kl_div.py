"""The divergence by PyTorch's KLDivLoss, in both directions and all forms of the arguments."""

import itertools

import losses
import torch
from torch.nn.functional import kl_div

FORMS = ("probabilities", "log_probabilities", "logits")


def log_of(form, x):
    return {"probabilities": torch.log, "log_probabilities": lambda x: x,
            "logits": lambda x: x.log_softmax(1)}[form](x)


def divergence(case, x):
    log_p, log_q = log_of(case["form"], x), log_of(case["target_form"], case["target"])
    if case["reverse"]:
        log_p, log_q = log_q, log_p
    return kl_div(log_p, log_q.exp(), reduction="none").sum(1)


def numbers(form, shape):
    if form == "logits":
        return losses.normal(*shape, scale=3)
    # Not quite distributions, of which the equation does not ask: sixteenths are the same in f32.
    p = losses.uniform(*shape, low=0.125, high=0.875)
    return p if form == "probabilities" else losses.sixteenths(p.log())


def cases():
    for shape, reverse in itertools.product(((4, 5), (2, 3, 2)), (False, True)):
        for form, target_form in itertools.product(FORMS, FORMS):
            yield {"reverse": reverse, "form": form, "target_form": target_form,
                   "input": numbers(form, shape), "target": numbers(target_form, shape)}


def batchmean_is_the_mean_over_samples():
    log_p, q = torch.randn(4, 5).log_softmax(1), torch.randn(4, 5).softmax(1)
    case = {"reverse": False, "form": "log_probabilities", "target_form": "probabilities", "target": q}
    mean = divergence(case, log_p).mean()
    torch.testing.assert_close(mean, kl_div(log_p, q, reduction="batchmean"))
    torch.testing.assert_close(mean / 5, kl_div(log_p, q, reduction="mean"))


batchmean_is_the_mean_over_samples()
losses.write(__file__, cases, divergence)
