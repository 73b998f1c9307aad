//! The criterion that enough, or few enough, of several arms reach a threshold.

use serde::Deserialize;
use taper_core::Result;

use super::{Direction, Effects, Heading, Kind, Larger, Source, wrong};
use crate::verdict::Rule;

/// Of the listed arms, at least (or at most) so many reach a threshold on the measure.
///
/// Each seed gives one count. The mean count is held against half a unit beyond the required
/// number: "at least 8" means above 7.5. So 8 at every seed satisfies it, with room for the spread
/// between seeds, and 7 at every seed contradicts it. A value on the threshold reaches it; NaN, from
/// a run that diverged, does not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// What is claimed, as a sentence.
    pub name: String,
    /// The paper's number, as text.
    pub paper: Option<String>,
    /// The measure.
    pub measure: String,
    /// The arms to count among.
    pub arms: Vec<String>,
    /// The value to reach.
    pub threshold: f64,
    /// Whether an arm reaches it from above (`higher`) or from below (`lower`).
    pub direction: Direction,
    /// The least number of arms that should reach it; this or `at_most`.
    pub at_least: Option<usize>,
    /// The greatest number of arms that should reach it; this or `at_least`.
    pub at_most: Option<usize>,
}

impl Kind for Count {
    fn heading(&self) -> Heading<'_> {
        Heading {
            kind: "count",
            name: &self.name,
            paper: self.paper.as_deref(),
            measure: &self.measure,
        }
    }

    fn arms(&self) -> Vec<&str> {
        self.arms.iter().map(String::as_str).collect()
    }

    fn rule(&self) -> Result<Rule> {
        if !self.threshold.is_finite() {
            return Err(wrong(&self.name, "threshold", "a finite number", self.threshold));
        }
        let all = self.arms.len();
        match (self.at_least, self.at_most) {
            (Some(number), None) if (1..=all).contains(&number) => {
                Ok(Rule::AtLeast { bound: number as f64 - 0.5 })
            }
            (Some(number), None) => {
                let expected =
                    format!("from 1 to the number of arms ({all}): it could not fail or hold");
                Err(wrong(&self.name, "at_least", &expected, number))
            }
            (None, Some(number)) if number < all => Ok(Rule::AtMost { bound: number as f64 + 0.5 }),
            (None, Some(number)) => {
                let expected = format!("below the number of arms ({all}): it could not fail");
                Err(wrong(&self.name, "at_most", &expected, number))
            }
            (Some(_), Some(_)) => {
                Err(wrong(&self.name, "at_least", "alone, or at_most alone", "both"))
            }
            (None, None) => Err(wrong(&self.name, "at_least", "given, or at_most", "neither")),
        }
    }

    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>> {
        let mut notes = Vec::new();
        let mut counts = vec![0.0; source.seeds.len()];
        for arm in &self.arms {
            for (count, value) in
                counts.iter_mut().zip(source.values(arm, Larger::Depends, &mut notes)?)
            {
                *count += f64::from(self.reached(value));
            }
        }
        let side = match self.direction {
            Direction::Higher => "at or above",
            Direction::Lower => "at or below",
        };
        let quantity = format!("arms {side} {} (of {})", self.threshold, self.arms.len());
        Ok(vec![Effects { quantity, values: counts, notes }])
    }
}

impl Count {
    fn reached(&self, value: f64) -> bool {
        match self.direction {
            Direction::Higher => value >= self.threshold,
            Direction::Lower => value <= self.threshold,
        }
    }
}
