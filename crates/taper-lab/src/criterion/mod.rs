//! What a claim is held against: the `[[criteria]]` tables of a spec.
//!
//! The kinds are a closed set. Each turns the runs' outcomes into one number a seed, the effect in
//! the claimed direction, and a [`Rule`] to judge them by; the verdict is
//! [`Finding::new`]'s. A criterion is fixed, margin included, before the first reporting run.
//!
//! Censored values arrive set to the budget and are used as they are. A note says how many there are
//! and which way they push. The true value is larger: where "the treatment needs fewer steps" is
//! claimed, a censored baseline makes the claim look weaker than it is, a censored treatment
//! stronger.

mod count;
mod order;
mod paired;
#[cfg(test)]
mod tests;
mod tolerance;

use serde::Deserialize;
use taper_core::{Error, Result, Stream};

use crate::outcomes::Outcomes;
use crate::verdict::{Finding, Rule, Verdict, combine};

pub use count::Count;
pub use order::Order;
pub use paired::{Difference, Equivalence, LogRatio, NonInferiority};
pub use tolerance::{Identity, Tolerance};

/// One criterion of a spec.
///
/// Every kind has a `name`, a `measure` and perhaps a `paper` of its own, because serde cannot share
/// fields and refuse unknown ones at once.
///
/// ```toml
/// [[criteria]]
/// kind = "log-ratio"
/// name = "batch norm needs at most half the steps to 90%"
/// paper = "14 times fewer"
/// measure = "steps_to_target"
/// treatment = "bn"
/// baseline = "plain"
/// direction = "lower"
/// ratio = 2.0
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Criterion {
    /// The treatment's measure exceeds the baseline's, or falls short of it, by a margin.
    Difference(Difference),
    /// The same on a ratio scale.
    LogRatio(LogRatio),
    /// Two arms differ by less than a margin.
    Equivalence(Equivalence),
    /// The treatment is worse by less than a margin.
    NonInferiority(NonInferiority),
    /// Several arms stand in a stated order.
    Order(Order),
    /// Enough, or few enough, of several arms reach a threshold.
    Count(Count),
    /// One arm's measure, or its ratio to another's, keeps to a bound.
    Tolerance(Tolerance),
    /// One arm's measure is 0 up to rounding, at every seed.
    Identity(Identity),
}

/// What came of a criterion.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The verdict on the whole.
    pub verdict: Verdict,
    /// Its parts: one for each adjacent pair of an order, one alone for every other kind.
    pub findings: Vec<Finding>,
}

/// Which way a claim goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The claimed value is the larger one.
    Higher,
    /// The claimed value is the smaller one.
    Lower,
}

impl Criterion {
    /// Its kind, as the table has it.
    pub fn kind(&self) -> &'static str {
        self.table().heading().kind
    }

    /// What is claimed, as a sentence.
    pub fn name(&self) -> &str {
        self.table().heading().name
    }

    /// The paper's number, as text.
    pub fn paper(&self) -> Option<&str> {
        self.table().heading().paper
    }

    /// The measure that it looks at.
    pub fn measure(&self) -> &str {
        self.table().heading().measure
    }

    /// The arms that it compares.
    pub fn arms(&self) -> Vec<&str> {
        self.table().arms()
    }

    /// Makes sure that the numbers of the table make sense; [`Criterion::evaluate`] does so too.
    ///
    /// # Errors
    ///
    /// A margin has the wrong sign or is not finite, arms are missing or named twice, or bounds are
    /// missing, contradict each other, or cannot fail.
    pub fn check(&self) -> Result<()> {
        let name = self.name();
        let arms = self.arms();
        if let Some(at) = (1..arms.len()).find(|at| arms[..*at].contains(&arms[*at])) {
            return Err(wrong(name, "arms", "different from each other", arms[at]));
        }
        self.table().rule().map(|_| ())
    }

    /// Judges the outcomes at `seeds`.
    ///
    /// `stream` gives the bootstrap's resamples; where it stands does not matter.
    ///
    /// # Errors
    ///
    /// The table makes no sense, or an arm, a seed or the measure is not among the outcomes.
    pub fn evaluate(
        &self,
        outcomes: &Outcomes,
        seeds: &[u64],
        stream: &Stream,
    ) -> Result<Evaluation> {
        self.check()?;
        let source = Source { outcomes, seeds, measure: self.measure() };
        let rule = self.table().rule()?;
        let mut findings = Vec::new();
        for (at, effects) in self.table().effects(&source)?.into_iter().enumerate() {
            let quantity = format!("{}: {}", self.measure(), effects.quantity);
            let by_seed: Vec<_> = seeds.iter().copied().zip(effects.values).collect();
            let stream = stream.child(&at.to_string());
            let mut finding = Finding::new(quantity, rule, &by_seed, &stream)?;
            finding.notes.extend(effects.notes);
            findings.push(finding);
        }
        let verdicts: Vec<Verdict> = findings.iter().map(|finding| finding.verdict).collect();
        Ok(Evaluation { verdict: combine(&verdicts), findings })
    }

    fn table(&self) -> &dyn Kind {
        match self {
            Self::Difference(table) => table,
            Self::LogRatio(table) => table,
            Self::Equivalence(table) => table,
            Self::NonInferiority(table) => table,
            Self::Order(table) => table,
            Self::Count(table) => table,
            Self::Tolerance(table) => table,
            Self::Identity(table) => table,
        }
    }
}

/// What the kinds of criterion have in common.
trait Kind {
    fn heading(&self) -> Heading<'_>;

    fn arms(&self) -> Vec<&str>;

    /// What each part's effects are held against; an error where the table makes no sense.
    fn rule(&self) -> Result<Rule>;

    /// The effects of each part, in the order of the seeds.
    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>>;
}

struct Heading<'a> {
    kind: &'static str,
    name: &'a str,
    paper: Option<&'a str>,
    measure: &'a str,
}

/// One number a seed.
struct Effects {
    quantity: String,
    values: Vec<f64>,
    notes: Vec<String>,
}

/// What a larger value of an arm does to the claim: which way its censoring pushes.
#[derive(Clone, Copy)]
enum Larger {
    Helps,
    Hurts,
    Depends,
}

/// Where values come from.
struct Source<'a> {
    outcomes: &'a Outcomes,
    seeds: &'a [u64],
    measure: &'a str,
}

impl Source<'_> {
    /// The arm's values in the order of the seeds; censored ones leave a note.
    fn values(&self, arm: &str, larger: Larger, notes: &mut Vec<String>) -> Result<Vec<f64>> {
        let measured: Vec<_> = self
            .seeds
            .iter()
            .map(|seed| self.outcomes.get(arm, *seed, self.measure))
            .collect::<Result<_>>()?;
        let censored = measured.iter().filter(|value| value.censored).count();
        if censored > 0 {
            let effect = match larger {
                Larger::Helps => "makes the claim look weaker than it is",
                Larger::Hurts => "makes the claim look stronger than it is",
                Larger::Depends => "makes the effect a bound",
            };
            notes.push(format!(
                "`{}` of the arm `{arm}` is censored at {censored} of {} seeds and counts as the \
                 budget, which {effect}.",
                self.measure,
                self.seeds.len()
            ));
        }
        Ok(measured.into_iter().map(|value| value.value).collect())
    }

    /// `effect` of two arms' values at each seed.
    fn pairs(
        &self,
        quantity: String,
        (first, of_first): (&str, Larger),
        (second, of_second): (&str, Larger),
        effect: impl Fn(f64, f64) -> f64,
    ) -> Result<Effects> {
        let mut notes = Vec::new();
        let firsts = self.values(first, of_first, &mut notes)?;
        let seconds = self.values(second, of_second, &mut notes)?;
        let values = firsts.into_iter().zip(seconds).map(|(a, b)| effect(a, b)).collect();
        Ok(Effects { quantity, values, notes })
    }

    /// `larger - smaller`, two arms in the order of the claim.
    fn difference(&self, larger: &str, smaller: &str) -> Result<Effects> {
        let quantity = format!("{larger} - {smaller}");
        self.pairs(quantity, (larger, Larger::Helps), (smaller, Larger::Hurts), |a, b| a - b)
    }
}

fn wrong(name: &str, key: &str, expected: &str, received: impl std::fmt::Display) -> Error {
    Error::argument("criterion", format!("{key} of \"{name}\""), expected, received)
}

/// A margin that may be 0.
fn check_margin(name: &str, margin: f64) -> Result<()> {
    if margin >= 0.0 && margin.is_finite() {
        return Ok(());
    }
    Err(wrong(name, "margin", "0 or more, in the claimed direction", margin))
}

/// A margin without which nothing could ever be reproduced.
fn check_room(name: &str, key: &str, margin: f64) -> Result<()> {
    if margin > 0.0 && margin.is_finite() {
        return Ok(());
    }
    Err(wrong(name, key, "above 0, and finite", margin))
}
