//! What the runs measured: one number an arm, seed and measure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use taper_core::{Error, Result};

use crate::arm::Number;

/// A measured value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The value; of a censored one the budget at which the run ended.
    #[serde(serialize_with = "write_number", deserialize_with = "read_number")]
    pub value: f64,
    /// Whether the value is a bound, because the run ended before it was reached.
    #[serde(default)]
    pub censored: bool,
}

/// The measures of many runs, by arm, seed and name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outcomes {
    arms: BTreeMap<String, BTreeMap<u64, BTreeMap<String, Measured>>>,
}

impl Outcomes {
    /// Sets what the run of `arm` at `seed` measured; what it had before is replaced.
    pub fn insert(&mut self, arm: &str, seed: u64, measures: BTreeMap<String, Measured>) {
        self.arms.entry(arm.to_owned()).or_default().insert(seed, measures);
    }

    /// Everything that the run of `arm` at `seed` measured.
    ///
    /// # Errors
    ///
    /// There is no such arm, or it has no such seed.
    pub fn run(&self, arm: &str, seed: u64) -> Result<&BTreeMap<String, Measured>> {
        let seeds = self.arms.get(arm).ok_or_else(|| unknown("arm", arm, self.arms.keys()))?;
        seeds.get(&seed).ok_or_else(|| {
            let known: Vec<String> = seeds.keys().map(u64::to_string).collect();
            let expected = format!("a seed that was run ({})", known.join(", "));
            Error::argument("outcomes", format!("seed of the arm `{arm}`"), expected, seed)
        })
    }

    /// The value of `measure` in the run of `arm` at `seed`.
    ///
    /// # Errors
    ///
    /// There is no such arm, it has no such seed, or that run has no such measure.
    pub fn get(&self, arm: &str, seed: u64, measure: &str) -> Result<Measured> {
        let measures = self.run(arm, seed)?;
        measures.get(measure).copied().ok_or_else(|| {
            let place = format!("measure of the arm `{arm}` at seed {seed}");
            unknown(&place, measure, measures.keys())
        })
    }
}

// A run that diverged has NaN for a value, and JSON should keep it.
fn write_number<S: Serializer>(value: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    Number(*value).serialize(serializer)
}

fn read_number<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    Number::deserialize(deserializer).map(|number| number.0)
}

fn unknown<'a>(argument: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let mut known: Vec<&str> = known.map(String::as_str).collect();
    // The nearest first, so that it is seen in a long list.
    known.sort_by_key(|candidate| strsim::damerau_levenshtein(name, candidate));
    let expected = match known.split_first() {
        None => "one that was run (there is none)".to_owned(),
        Some((nearest, [])) => format!("`{nearest}`"),
        Some((nearest, others)) => format!("`{nearest}` (or {})", others.join(", ")),
    };
    Error::argument("outcomes", argument, expected, format!("`{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Outcomes {
        let measured = |value| Measured { value, censored: false };
        let mut outcomes = Outcomes::default();
        for (arm, accuracy) in [("plain", 0.5), ("bn", 0.75)] {
            let measures = [("accuracy", accuracy), ("steps", 300.0)];
            let measures = measures.map(|(name, value)| (name.to_owned(), measured(value)));
            outcomes.insert(arm, 1000, measures.into());
        }
        outcomes
    }

    #[test]
    fn what_was_inserted_is_found() {
        let found = sample().get("bn", 1000, "accuracy").unwrap();
        assert_eq!(found, Measured { value: 0.75, censored: false });
        assert_eq!(sample().run("plain", 1000).unwrap().len(), 2);
    }

    #[test]
    fn what_is_missing_is_named_with_the_nearest() {
        let message =
            |arm, seed, measure| sample().get(arm, seed, measure).unwrap_err().to_string();
        assert_eq!(
            message("plane", 1000, "steps"),
            "outcomes: arm should be `plain` (or bn), got `plane`"
        );
        assert_eq!(
            message("bn", 7, "steps"),
            "outcomes: seed of the arm `bn` should be a seed that was run (1000), got 7"
        );
        assert_eq!(
            message("bn", 1000, "acuracy"),
            "outcomes: measure of the arm `bn` at seed 1000 should be `accuracy` (or steps), \
             got `acuracy`"
        );
        let error = Outcomes::default().run("bn", 1).unwrap_err().to_string();
        assert_eq!(error, "outcomes: arm should be one that was run (there is none), got `bn`");
    }

    #[test]
    fn json_keeps_everything() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert!(text.starts_with(r#"{"bn":{"1000":{"accuracy":{"value":0.75,"censored":false}"#));
        assert_eq!(serde_json::from_str::<Outcomes>(&text).unwrap(), sample());
        let diverged = Measured { value: f64::NAN, censored: true };
        let text = serde_json::to_string(&diverged).unwrap();
        assert_eq!(text, r#"{"value":"NaN","censored":true}"#);
        assert!(serde_json::from_str::<Measured>(&text).unwrap().value.is_nan());
    }
}
