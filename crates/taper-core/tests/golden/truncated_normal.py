"""Moments and quantiles of the truncated normal distribution from scipy.stats."""

import golden
from scipy.stats import truncnorm

MEAN, STD, LOW, HIGH = 0.1, 0.5, -0.4, 1.6
SHARES = [0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999]

law = truncnorm((LOW - MEAN) / STD, (HIGH - MEAN) / STD, loc=MEAN, scale=STD)
golden.write(
    __file__,
    [
        {
            "mean": float(law.mean()),
            "std": float(law.std()),
            "shares": SHARES,
            "quantiles": law.ppf(SHARES).tolist(),
        }
    ],
)
