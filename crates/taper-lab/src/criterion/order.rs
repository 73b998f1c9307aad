//! The criterion that several arms stand in a stated order.

use serde::Deserialize;
use taper_core::Result;

use super::{Effects, Heading, Kind, Source, check_margin, wrong};
use crate::verdict::Rule;

/// The arms' measures rise in the order of the list, each above the one before by more than a
/// margin. A compound: one part for each adjacent pair.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is claimed, as a sentence.
    pub name: String,
    /// The paper's number, as text.
    pub paper: Option<String>,
    /// The measure.
    pub measure: String,
    /// The arms, the one with the least value first.
    pub arms: Vec<String>,
    /// By how much each exceeds the one before, 0 or more.
    #[serde(default)]
    pub margin: f64,
}

impl Kind for Order {
    fn heading(&self) -> Heading<'_> {
        Heading {
            kind: "order",
            name: &self.name,
            paper: self.paper.as_deref(),
            measure: &self.measure,
        }
    }

    fn arms(&self) -> Vec<&str> {
        self.arms.iter().map(String::as_str).collect()
    }

    fn rule(&self) -> Result<Rule> {
        if self.arms.len() < 2 {
            return Err(wrong(&self.name, "arms", "at least 2 arms, ascending", self.arms.len()));
        }
        check_margin(&self.name, self.margin)?;
        Ok(Rule::Superiority { margin: self.margin })
    }

    fn effects(&self, source: &Source<'_>) -> Result<Vec<Effects>> {
        self.arms.windows(2).map(|pair| source.difference(&pair[1], &pair[0])).collect()
    }
}
