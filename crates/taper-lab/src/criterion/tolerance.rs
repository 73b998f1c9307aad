//! Criteria on one arm: that its measure keeps to a bound, on average or at every seed.

use serde::Deserialize;
use taper_core::Result;

use super::{Effects, Heading, Kind, Larger, Source, check_room, wrong};
use crate::verdict::Rule;

/// One arm's measure, or its ratio to another arm's at the same seed, keeps to a bound.
///
/// The bound is `at_most`, `at_least`, or `target` with `within`. The one-sample interval of the
/// mean is held against it; arms that give the same number at every seed are welcome.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// What is claimed, as a sentence.
    pub name: String,
    /// The paper's number, as text.
    pub paper: Option<String>,
    /// The measure.
    pub measure: String,
    /// The arm.
    pub arm: String,
    /// The arm whose value at the same seed divides this one's.
    pub relative_to: Option<String>,
    /// The value should be below this.
    pub at_most: Option<f64>,
    /// The value should be above this.
    pub at_least: Option<f64>,
    /// The value should be near this.
    pub target: Option<f64>,
    /// How near, above 0.
    pub within: Option<f64>,
}

/// One arm's measure, a deviation from what theory says, is 0 up to rounding at every seed.
///
/// No average is taken: one value outside contradicts the identity.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What is claimed, as a sentence.
    pub name: String,
    /// The paper's number, as text.
    pub paper: Option<String>,
    /// The measure.
    pub measure: String,
    /// The arm.
    pub arm: String,
    /// How far from 0 a value may be, itself included; 0 asks for exactly 0.
    pub within: f64,
}

impl Kind for Tolerance {
    fn heading(&self) -> Heading<'_> {
        Heading {
            kind: "tolerance",
            name: &self.name,
            paper: self.paper.as_deref(),
            measure: &self.measure,
        }
    }

    fn arms(&self) -> Vec<&str> {
        std::iter::once(&self.arm).chain(&self.relative_to).map(String::as_str).collect()
    }

    fn rule(&self) -> Result<Rule> {
        let finite = |key, bound: f64| match bound.is_finite() {
            true => Ok(bound),
            false => Err(wrong(&self.name, key, "a finite number", bound)),
        };
        match (self.at_most, self.at_least, self.target, self.within) {
            (Some(bound), None, None, None) => {
                Ok(Rule::AtMost { bound: finite("at_most", bound)? })
            }
            (None, Some(bound), None, None) => {
                Ok(Rule::AtLeast { bound: finite("at_least", bound)? })
            }
            (None, None, Some(target), Some(within)) => {
                check_room(&self.name, "within", within)?;
                Ok(Rule::Within { target: finite("target", target)?, within })
            }
            _ => {
                let given = [
                    ("at_most", self.at_most),
                    ("at_least", self.at_least),
                    ("target", self.target),
                    ("within", self.within),
                ];
                let given: Vec<&str> =
                    given.iter().filter_map(|(key, bound)| bound.map(|_| *key)).collect();
                let expected = "at_most, or at_least, or target and within";
                Err(wrong(&self.name, "bound", expected, format!("[{}]", given.join(", "))))
            }
        }
    }

    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>> {
        let (of_arm, of_other) = match (self.at_most, self.at_least) {
            (Some(_), _) => (Larger::Hurts, Larger::Helps),
            (_, Some(_)) => (Larger::Helps, Larger::Hurts),
            _ => (Larger::Depends, Larger::Depends),
        };
        let Some(other) = &self.relative_to else {
            let mut notes = Vec::new();
            let values = source.values(&self.arm, of_arm, &mut notes)?;
            return Ok(vec![Effects { quantity: self.arm.clone(), values, notes }]);
        };
        let quantity = format!("{} / {other}", self.arm);
        let ratio = source.pairs(quantity, (&self.arm, of_arm), (other, of_other), |a, b| a / b)?;
        Ok(vec![ratio])
    }
}

impl Kind for Identity {
    fn heading(&self) -> Heading<'_> {
        Heading {
            kind: "identity",
            name: &self.name,
            paper: self.paper.as_deref(),
            measure: &self.measure,
        }
    }

    fn arms(&self) -> Vec<&str> {
        vec![&self.arm]
    }

    fn rule(&self) -> Result<Rule> {
        if !(self.within >= 0.0 && self.within.is_finite()) {
            return Err(wrong(&self.name, "within", "0 or more, and finite", self.within));
        }
        Ok(Rule::Identity { within: self.within })
    }

    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>> {
        let mut notes = Vec::new();
        let values = source.values(&self.arm, Larger::Depends, &mut notes)?;
        Ok(vec![Effects { quantity: self.arm.clone(), values, notes }])
    }
}
