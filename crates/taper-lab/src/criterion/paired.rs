//! Criteria on the difference of two arms, seed by seed.

use serde::Deserialize;
use taper_core::Result;

use super::{Direction, Effects, Heading, Kind, Larger, Source, check_margin, check_room, wrong};
use crate::verdict::Rule;

/// The treatment's measure exceeds the baseline's, or falls short of it, by more than a margin.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// What is claimed, as a sentence.
    pub name: String,
    /// The paper's number, as text.
    pub paper: Option<String>,
    /// The measure.
    pub measure: String,
    /// The arm that the claim is about.
    pub treatment: String,
    /// The arm that it is compared with.
    pub baseline: String,
    /// Whether the treatment is claimed to be higher or lower.
    pub direction: Direction,
    /// By how much, 0 or more.
    #[serde(default)]
    pub margin: f64,
}

/// The treatment's measure is worse than the baseline's by less than a margin, if at all.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonInferiority {
    /// What is claimed, as a sentence.
    pub name: String,
    /// The paper's number, as text.
    pub paper: Option<String>,
    /// The measure.
    pub measure: String,
    /// The arm that the claim is about.
    pub treatment: String,
    /// The arm that it is compared with.
    pub baseline: String,
    /// Which way the measure is better.
    pub direction: Direction,
    /// How much worse is still as good, above 0.
    pub margin: f64,
}

/// The arms' measures differ by less than a margin either way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Equivalence {
    /// What is claimed, as a sentence.
    pub name: String,
    /// The paper's number, as text.
    pub paper: Option<String>,
    /// The measure.
    pub measure: String,
    /// The arm that the claim is about.
    pub treatment: String,
    /// The arm that it is compared with.
    pub baseline: String,
    /// How far apart is still the same, above 0.
    pub margin: f64,
}

/// The treatment's measure is a multiple of the baseline's, or a fraction of it: a difference of
/// logarithms.
///
/// Both have to be above 0; where one is not, the effect is no finite number and the verdict
/// inconclusive.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRatio {
    /// What is claimed, as a sentence.
    pub name: String,
    /// The paper's number, as text.
    pub paper: Option<String>,
    /// The measure.
    pub measure: String,
    /// The arm that the claim is about.
    pub treatment: String,
    /// The arm that it is compared with.
    pub baseline: String,
    /// Whether the treatment is claimed to be higher or lower.
    pub direction: Direction,
    /// How many times, 1 or more; the margin is its logarithm.
    #[serde(default = "same")]
    pub ratio: f64,
}

fn same() -> f64 {
    1.0
}

impl Kind for Difference {
    fn heading(&self) -> Heading<'_> {
        Heading {
            kind: "difference",
            name: &self.name,
            paper: self.paper.as_deref(),
            measure: &self.measure,
        }
    }

    fn arms(&self) -> Vec<&str> {
        vec![&self.treatment, &self.baseline]
    }

    fn rule(&self) -> Result<Rule> {
        check_margin(&self.name, self.margin)?;
        Ok(Rule::Superiority { margin: self.margin })
    }

    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>> {
        let (larger, smaller) = self.direction.sort(&self.treatment, &self.baseline);
        Ok(vec![source.difference(larger, smaller)?])
    }
}

impl Kind for NonInferiority {
    fn heading(&self) -> Heading<'_> {
        Heading {
            kind: "non-inferiority",
            name: &self.name,
            paper: self.paper.as_deref(),
            measure: &self.measure,
        }
    }

    fn arms(&self) -> Vec<&str> {
        vec![&self.treatment, &self.baseline]
    }

    fn rule(&self) -> Result<Rule> {
        check_room(&self.name, "margin", self.margin)?;
        Ok(Rule::NonInferiority { margin: self.margin })
    }

    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>> {
        let (larger, smaller) = self.direction.sort(&self.treatment, &self.baseline);
        Ok(vec![source.difference(larger, smaller)?])
    }
}

impl Kind for Equivalence {
    fn heading(&self) -> Heading<'_> {
        Heading {
            kind: "equivalence",
            name: &self.name,
            paper: self.paper.as_deref(),
            measure: &self.measure,
        }
    }

    fn arms(&self) -> Vec<&str> {
        vec![&self.treatment, &self.baseline]
    }

    fn rule(&self) -> Result<Rule> {
        check_room(&self.name, "margin", self.margin)?;
        Ok(Rule::Equivalence { margin: self.margin })
    }

    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>> {
        let quantity = format!("{} - {}", self.treatment, self.baseline);
        let treatment = (self.treatment.as_str(), Larger::Depends);
        let baseline = (self.baseline.as_str(), Larger::Depends);
        Ok(vec![source.pairs(quantity, treatment, baseline, |t, b| t - b)?])
    }
}

impl Kind for LogRatio {
    fn heading(&self) -> Heading<'_> {
        Heading {
            kind: "log-ratio",
            name: &self.name,
            paper: self.paper.as_deref(),
            measure: &self.measure,
        }
    }

    fn arms(&self) -> Vec<&str> {
        vec![&self.treatment, &self.baseline]
    }

    fn rule(&self) -> Result<Rule> {
        if !(self.ratio >= 1.0 && self.ratio.is_finite()) {
            let expected = "1 or more, in the claimed direction";
            return Err(wrong(&self.name, "ratio", expected, self.ratio));
        }
        Ok(Rule::Superiority { margin: self.ratio.ln() })
    }

    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>> {
        let (larger, smaller) = self.direction.sort(&self.treatment, &self.baseline);
        let quantity = format!("ln({larger} / {smaller})");
        let (larger, smaller) = ((larger, Larger::Helps), (smaller, Larger::Hurts));
        Ok(vec![source.pairs(quantity, larger, smaller, |a, b| a.ln() - b.ln())?])
    }
}

impl Direction {
    /// The arm that is claimed to be larger, and the other.
    fn sort<'a>(self, treatment: &'a str, baseline: &'a str) -> (&'a str, &'a str) {
        match self {
            Self::Higher => (treatment, baseline),
            Self::Lower => (baseline, treatment),
        }
    }
}
