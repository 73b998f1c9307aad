"""Intervals, p-values, quantiles and sample sizes by SciPy and NumPy."""

import golden
import numpy as np
from scipy import stats

SAMPLES = {
    "five": [0.31, -0.12, 0.25, 0.4, 0.08],
    "eight": [1.2, 0.7, 1.9, -0.3, 0.9, 1.1, 2.4, 0.2],
    "ten": [0.12, 0.34, -0.21, 0.55, 0.47, 0.03, 0.29, -0.08, 0.41, 0.18],
    "skewed": [0.1, 0.2, 0.15, 0.3, 0.12, 0.4, 0.25, 5.0, 0.18],
    "ties": [1.0, 1.0, -1.0, 2.0, 0.0, 1.0, -2.0, 3.0, 1.0, 0.0],
    "far": [1e6 + 1, 1e6 + 2, 1e6 + 4],
}
ALTERNATIVES = ("two-sided", "greater", "less")


def student():
    """The same sample as a pair of arms (ttest_rel), and against other null values."""
    for name, sample in SAMPLES.items():
        values = np.array(sample)
        baseline = np.linspace(3.0, 4.0, len(values))
        paired = stats.ttest_rel(baseline + values, baseline)
        for level in (0.9, 0.95, 0.99):
            interval = stats.t.interval(
                level, len(values) - 1, loc=values.mean(), scale=stats.sem(values)
            )
            yield {
                "kind": "interval", "sample": name, "values": sample, "level": level,
                "interval": [float(end) for end in interval],
            }
        if name != "far":  # adding the baseline would round the paired differences
            yield {
                "kind": "student_p", "sample": name, "values": sample, "null": 0.0,
                "alternative": "two-sided", "p": float(paired.pvalue),
            }
        for null in (0.1, float(values.mean()) / 2):
            for alternative in ALTERNATIVES:
                test = stats.ttest_1samp(values, null, alternative=alternative)
                yield {
                    "kind": "student_p", "sample": name, "values": sample, "null": null,
                    "alternative": alternative, "p": float(test.pvalue),
                }


def sign_flips():
    for name in ("five", "eight", "ten", "skewed", "ties"):
        values = np.array(SAMPLES[name])
        for null in (0.0, 0.1):
            for alternative in ALTERNATIVES:
                yield {
                    "kind": "sign_flip", "sample": name, "values": SAMPLES[name], "null": null,
                    "alternative": alternative, "p": flip(values - null, alternative),
                }


def flip(differences, alternative):
    """Swapping the two arms of a pair flips the sign of its difference."""
    zeros = np.zeros_like(differences)
    test = stats.permutation_test(
        (differences, zeros), lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples", n_resamples=np.inf, vectorized=True, alternative=alternative,
    )
    return float(test.pvalue)


def bootstraps():
    """The interval of a large bootstrap, and the ends that given resamples lead to."""
    rng = np.random.default_rng(20240229)
    for name in ("eight", "ten", "skewed"):
        sample = SAMPLES[name]
        for level in (0.9, 0.95):
            result = stats.bootstrap(
                (sample,), np.mean, confidence_level=level, method="BCa", n_resamples=100_000, rng=rng
            )
            yield {
                "kind": "bca", "sample": name, "values": sample, "level": level,
                "interval": [float(end) for end in result.confidence_interval],
            }
            # In 64ths the means are exact, so that SciPy sees ties with the sample's mean too.
            exact = (np.round(64 * np.array(sample)) / 64).tolist()
            few = stats.bootstrap(
                (exact,), np.mean, confidence_level=level, method="BCa", n_resamples=199, rng=rng
            )
            yield {
                "kind": "bca_of_means", "sample": name, "values": exact, "level": level,
                "means": np.sort(few.bootstrap_distribution).tolist(),
                "interval": [float(end) for end in few.confidence_interval],
            }


def quantiles():
    for name, sample in SAMPLES.items():
        for q in (0.0, 0.15, 0.5, 0.85, 1.0):
            yield {
                "kind": "quantile", "sample": name, "values": sample, "q": q,
                "quantile": float(np.quantile(sample, q)),
            }


def seeds():
    """The least n at which the noncentral t has the power."""
    def power(n, effect, level):
        cut = stats.t.ppf(0.5 + level / 2, n - 1)
        return stats.nct.sf(cut, n - 1, effect * np.sqrt(n))

    for effect in (0.2, 0.35, 0.5, 0.8, 1.0, 1.5, 2.5):
        for level in (0.9, 0.95):
            for wanted in (0.8, 0.95):
                n = 2
                while power(n, effect, level) < wanted:
                    n += 1
                yield {
                    "kind": "seeds", "effect": effect, "level": level, "power": wanted, "seeds": n,
                }


def summaries():
    for name, sample in SAMPLES.items():
        yield {
            "kind": "summary", "sample": name, "values": sample,
            "mean": float(np.mean(sample)), "sd": float(np.std(sample, ddof=1)),
        }


golden.write(
    __file__,
    [*summaries(), *quantiles(), *student(), *sign_flips(), *bootstraps(), *seeds()],
)
