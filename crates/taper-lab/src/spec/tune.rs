//! The `[tune]` part of a spec.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{FIRST_REPORTING_SEED, Scale};
use crate::config::{ConfigError, Node, Origin, Value};

/// The `[tune]` part: a grid, run for every arm with seeds of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tune {
    /// Each key's candidates; a trial is one of each.
    pub(crate) grid: BTreeMap<String, Vec<toml::Value>>,
    /// The measure to choose by.
    pub(crate) measure: String,
    /// Which way is better.
    pub(crate) goal: Goal,
    /// Where the measure is taken.
    pub(crate) split: Split,
    /// The tuning seeds, all below 1000.
    pub(crate) seeds: Vec<u64>,
    /// What was chosen, for each scale and arm.
    #[serde(default)]
    pub(crate) winners: BTreeMap<Scale, BTreeMap<String, toml::Table>>,
}

/// Which way a measure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Goal {
    /// Larger is better.
    Higher,
    /// Smaller is better.
    Lower,
}

/// Where a tuning measure is taken: never on the test split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Split {
    /// A part of the training split that the trial does not train on.
    Validation,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Validation => f.write_str("validation"),
        }
    }
}

impl Tune {
    /// Every combination of the grid, as tables to lay over an arm's settings.
    pub(crate) fn trials(&self) -> Vec<toml::Table> {
        let mut trials = vec![toml::Table::new()];
        for (key, candidates) in &self.grid {
            trials = trials
                .iter()
                .flat_map(|trial| {
                    candidates.iter().map(move |candidate| {
                        let mut longer = trial.clone();
                        longer.insert(key.clone(), candidate.clone());
                        longer
                    })
                })
                .collect();
        }
        trials
    }

    pub(super) fn check(&self, node: &Node, arms: &[String]) -> Result<(), ConfigError> {
        let wrong = |path: &str, message: String| Err(ConfigError::at(&node.origin, path, message));
        if self.seeds.is_empty() {
            return wrong("tune.seeds", "give at least one tuning seed".to_owned());
        }
        if let Some(seed) = self.seeds.iter().find(|seed| **seed >= FIRST_REPORTING_SEED) {
            return wrong(
                "tune.seeds",
                format!(
                    "seed {seed} is a reporting seed; tuning seeds stay below {FIRST_REPORTING_SEED}"
                ),
            );
        }
        if let Some((key, _)) = self.grid.iter().find(|(_, candidates)| candidates.is_empty()) {
            return wrong("tune.grid", format!("`{key}` has no candidates"));
        }
        let trials = self.trials();
        for (scale, winners) in &self.winners {
            let path = format!("tune.winners.{scale}");
            for arm in arms {
                match winners.get(arm) {
                    None => {
                        return wrong(
                            &path,
                            format!("the arm `{arm}` has no winner: tune all or none"),
                        );
                    }
                    Some(winner) if !trials.contains(winner) => {
                        return wrong(&path, format!("`{arm}`: {winner} is no point of the grid"));
                    }
                    Some(_) => {}
                }
            }
            if let Some(name) = winners.keys().find(|name| !arms.contains(name)) {
                return Err(ConfigError::unknown_key(&node.origin, &path, name, arms.to_vec()));
            }
        }
        Ok(())
    }
}

pub(crate) fn from_toml_table(table: &toml::Table, origin: &Origin) -> Node {
    let entries = table.iter().map(|(key, value)| (key.clone(), from_toml(value, origin)));
    Node { value: Value::Table(entries.collect()), origin: origin.clone() }
}

fn from_toml(value: &toml::Value, origin: &Origin) -> Node {
    let value = match value {
        toml::Value::String(text) => Value::Text(text.clone()),
        toml::Value::Integer(number) => Value::Integer(*number),
        toml::Value::Float(number) => Value::Real(*number),
        toml::Value::Boolean(flag) => Value::Flag(*flag),
        toml::Value::Datetime(date) => Value::Text(date.to_string()),
        toml::Value::Array(items) => {
            Value::List(items.iter().map(|item| from_toml(item, origin)).collect())
        }
        toml::Value::Table(table) => return from_toml_table(table, origin),
    };
    Node { value, origin: origin.clone() }
}
