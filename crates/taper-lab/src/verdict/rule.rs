//! The rule of one criterion: which interval decides, and how.

use serde::Serialize;

use super::Verdict;
use crate::stats::{Alternative, Interval};

/// What an effect is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Rule {
    /// In the claimed direction the effect exceeds the margin.
    Superiority {
        /// The margin, 0 or more.
        margin: f64,
    },
    /// In the claimed direction the effect falls short of 0 by less than the margin.
    NonInferiority {
        /// The margin, above 0.
        margin: f64,
    },
    /// The effect is less than the margin either way.
    Equivalence {
        /// The margin, above 0.
        margin: f64,
    },
    /// The value is above the bound.
    AtLeast {
        /// The bound.
        bound: f64,
    },
    /// The value is below the bound.
    AtMost {
        /// The bound.
        bound: f64,
    },
    /// The value is the target, give or take.
    Within {
        /// The target.
        target: f64,
        /// How far from it is near enough.
        within: f64,
    },
    /// Every seed's value is 0, give or take; judged seed by seed, not by an interval.
    Identity {
        /// How far from 0 is near enough.
        within: f64,
    },
}

impl Rule {
    /// The level of the interval that decides.
    pub fn level(&self) -> f64 {
        match self {
            Self::Equivalence { .. } => 0.90,
            _ => 0.95,
        }
    }

    /// The verdict on an interval of the effect in the claimed direction, or of the value: that of
    /// the region it lies in wholly, else inconclusive.
    ///
    /// An identity is no question to an interval; here it is read as one about the values' mean.
    pub fn decide(&self, interval: &Interval) -> Verdict {
        let (cuts, verdicts) = self.regions();
        let lowest = std::iter::once(f64::NEG_INFINITY).chain(cuts.iter().copied());
        let highest = cuts.iter().copied().chain(std::iter::once(f64::INFINITY));
        let mut regions = lowest.zip(highest).zip(verdicts);
        let around = regions.find(|((low, high), _)| interval.low > *low && interval.high < *high);
        around.map_or(Verdict::Inconclusive, |(_, verdict)| verdict)
    }

    /// How far `mean` is from the cuts around it: what an interval must clear to settle.
    pub(super) fn distances(&self, mean: f64) -> Vec<f64> {
        let (cuts, _) = self.regions();
        let below = cuts.iter().map(|cut| mean - cut).filter(|distance| *distance >= 0.0);
        let above = cuts.iter().map(|cut| cut - mean).filter(|distance| *distance >= 0.0);
        below.reduce(f64::min).into_iter().chain(above.reduce(f64::min)).collect()
    }

    /// What has to be refuted to reproduce the claim: that the mean lies at the bound, or, of two
    /// bounds, beyond either.
    pub(super) fn tests(&self) -> Vec<(f64, Alternative)> {
        let (cuts, _) = self.regions();
        match (*self, &cuts[..]) {
            (Self::Superiority { margin }, _) => vec![(margin, Alternative::TwoSided)],
            (_, [low, high]) => vec![(*low, Alternative::Greater), (*high, Alternative::Less)],
            _ => cuts.into_iter().map(|cut| (cut, Alternative::TwoSided)).collect(),
        }
    }

    /// The factor from the p-values of [`Rule::tests`] to one that matches the interval's level.
    pub(super) fn tails(&self) -> f64 {
        match self {
            Self::Within { .. } => 2.0,
            _ => 1.0,
        }
    }

    /// The cuts, ascending, and the verdicts below, between and above them.
    fn regions(&self) -> (Vec<f64>, Vec<Verdict>) {
        use Verdict::{Contradicted, Reproduced, Weaker};
        let around = |center: f64, within: f64| {
            (vec![center - within, center + within], vec![Contradicted, Reproduced, Contradicted])
        };
        match *self {
            Self::Superiority { margin } => {
                (vec![0.0, margin], vec![Contradicted, Weaker, Reproduced])
            }
            Self::NonInferiority { margin } => (vec![-margin], vec![Contradicted, Reproduced]),
            Self::AtLeast { bound } => (vec![bound], vec![Contradicted, Reproduced]),
            Self::AtMost { bound } => (vec![bound], vec![Reproduced, Contradicted]),
            Self::Equivalence { margin } => around(0.0, margin),
            Self::Within { target, within } => around(target, within),
            Self::Identity { within } => around(0.0, within),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Verdict::{Contradicted, Inconclusive, Reproduced, Weaker};

    fn check(rule: Rule, cases: &[(f64, f64, Verdict)]) {
        for (low, high, expected) in cases {
            let interval = Interval { low: *low, high: *high, level: rule.level() };
            assert_eq!(rule.decide(&interval), *expected, "{rule:?} on [{low}, {high}]");
        }
    }

    #[test]
    fn superiority_has_four_regions() {
        check(
            Rule::Superiority { margin: 2.0 },
            &[
                (2.1, 3.0, Reproduced),
                (2.0, 3.0, Inconclusive),
                (0.1, 1.9, Weaker),
                (0.1, 2.0, Inconclusive),
                (0.0, 1.9, Inconclusive),
                (0.1, 2.1, Inconclusive),
                (-0.1, 1.0, Inconclusive),
                (-0.1, 2.1, Inconclusive),
                (-1.0, 0.0, Inconclusive),
                (-1.0, -0.1, Contradicted),
                // Without width, the same.
                (2.5, 2.5, Reproduced),
                (2.0, 2.0, Inconclusive),
                (1.0, 1.0, Weaker),
                (0.0, 0.0, Inconclusive),
                (-1.0, -1.0, Contradicted),
            ],
        );
    }

    #[test]
    fn without_a_margin_nothing_is_weaker() {
        check(
            Rule::Superiority { margin: 0.0 },
            &[
                (0.1, 1.0, Reproduced),
                (0.0, 1.0, Inconclusive),
                (0.0, 0.0, Inconclusive),
                (-1.0, 1.0, Inconclusive),
                (-1.0, -0.1, Contradicted),
            ],
        );
    }

    #[test]
    fn non_inferiority_and_one_sided_bounds() {
        let bound = &[
            (-1.9, 5.0, Reproduced),
            (-2.0, 5.0, Inconclusive),
            (-3.0, -2.0, Inconclusive),
            (-3.0, -2.1, Contradicted),
        ];
        check(Rule::NonInferiority { margin: 2.0 }, bound);
        check(Rule::AtLeast { bound: -2.0 }, bound);
        let mirrored = bound.map(|(low, high, verdict)| (-high, -low, verdict));
        check(Rule::AtMost { bound: 2.0 }, &mirrored);
    }

    #[test]
    fn equivalence_and_two_sided_bounds() {
        let cases = &[
            (-0.9, 0.9, Reproduced),
            (-1.0, 0.9, Inconclusive),
            (-0.9, 1.0, Inconclusive),
            (-2.0, 2.0, Inconclusive),
            (1.0, 2.0, Inconclusive),
            (1.1, 2.0, Contradicted),
            (-2.0, -1.1, Contradicted),
        ];
        check(Rule::Equivalence { margin: 1.0 }, cases);
        check(Rule::Identity { within: 1.0 }, cases);
        let shifted = cases.map(|(low, high, verdict)| (low + 8.0, high + 8.0, verdict));
        check(Rule::Within { target: 8.0, within: 1.0 }, &shifted);
    }

    #[test]
    fn what_is_no_interval_settles_nothing() {
        let nan = f64::NAN;
        for rule in [Rule::Superiority { margin: 0.0 }, Rule::Within { target: 0.0, within: 1.0 }] {
            check(rule, &[(nan, nan, Inconclusive), (nan, -1.0, Inconclusive)]);
        }
    }

    #[test]
    fn distances_to_the_cuts_around() {
        let rule = Rule::Superiority { margin: 2.0 };
        assert_eq!(rule.distances(5.0), [3.0]);
        assert_eq!(rule.distances(0.5), [0.5, 1.5]);
        assert_eq!(rule.distances(-1.0), [1.0]);
        assert_eq!(rule.distances(2.0), [0.0, 0.0]);
        assert_eq!(Rule::AtMost { bound: 1.0 }.distances(0.25), [0.75]);
        assert_eq!(Rule::Equivalence { margin: 1.0 }.distances(-3.0), [2.0]);
    }
}
