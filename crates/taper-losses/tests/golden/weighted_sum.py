"""A weighted sum of three losses; one of weight 0 is no part of it."""

import losses


def weighted_sum(case, x):
    parts = [x if role == case["role"] else case[role] for role in ("first", "second", "third")]
    return sum(weight * part for weight, part in zip(case["weights"], parts) if weight != 0)


def cases():
    for weights in ([1.0, 4.0, 0.0], [0.5, -0.25, 3.0], [0.0, 1.0, 1.0]):
        for shape in ((), (4,), (3, 2)):
            role = "second" if weights[0] == 0 else "first"
            parts = {name: losses.normal(*shape) for name in ("first", "second", "third")}
            yield parts | {"input": parts[role], "role": role, "weights": weights}


# As one number: weights and masks are no part of the sum.
losses.write(__file__, cases, lambda case, x: weighted_sum(case, x).sum())
