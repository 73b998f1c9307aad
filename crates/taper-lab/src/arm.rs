//! One arm of an experiment: a value with a step, and the record that it writes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use taper_core::Stateful;

use crate::error::BoxError;
use crate::outcomes::Measured;

/// One arm at one seed.
///
/// Its whole state (tensors, optimizer, random streams, place in the data) goes through
/// [`Stateful`], so that a run can stop after any step and go on in another process with the same
/// bytes. An arm reads no clock and touches no file.
pub trait Arm: Stateful {
    /// The most steps that a run takes.
    fn steps(&self) -> u64;

    /// Does one step (a training step, a check); `Break` ends the run early.
    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError>;

    /// Measures the outcome, once, after the last step.
    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError>;
}

/// What a run writes down: metrics along the way and measures at its end, as JSON lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    step: u64,
    lines: Vec<u8>,
}

/// One line of a run's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// A value along the way.
    Metric {
        /// The number of finished steps.
        step: u64,
        /// Its name.
        metric: String,
        /// Its value.
        value: Number,
    },
    /// A value of the whole run.
    Measure {
        /// Its name.
        measure: String,
        /// Its value.
        value: Number,
        /// Whether the value is a bound, because the run ended first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        censored: bool,
    },
}

impl Record {
    /// Writes `value` as the metric `name` at the present step.
    pub fn metric(&mut self, name: &str, value: f64) {
        self.metric_at(self.step, name, value);
    }

    /// Writes `value` as the metric `name` at a step of the arm's choosing: a closed form has no steps,
    /// and its value belongs at every one.
    pub fn metric_at(&mut self, step: u64, name: &str, value: f64) {
        self.push(&Line::Metric { step, metric: name.to_owned(), value: Number(value) });
    }

    /// Writes `value` as the run's measure `name`.
    pub fn measure(&mut self, name: &str, value: f64) {
        self.push(&Line::Measure {
            measure: name.to_owned(),
            value: Number(value),
            censored: false,
        });
    }

    /// Writes the measure `name` of a run that ended before it was reached: `bound` is the budget.
    pub fn censored(&mut self, name: &str, bound: f64) {
        self.push(&Line::Measure {
            measure: name.to_owned(),
            value: Number(bound),
            censored: true,
        });
    }

    /// The number of finished steps.
    pub fn step(&self) -> u64 {
        self.step
    }

    pub(crate) fn advance(&mut self) {
        self.step += 1;
    }

    pub(crate) fn resume(step: u64, lines: Vec<u8>) -> Self {
        Self { step, lines }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.lines
    }

    fn push(&mut self, line: &Line) {
        // Writing a plain struct of strings and numbers into memory cannot fail.
        if serde_json::to_writer(&mut self.lines, line).is_ok() {
            self.lines.push(b'\n');
        }
    }
}

/// A record read back: metrics as series, measures by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    /// Each metric's (step, value) pairs in the order they were written.
    pub(crate) metrics: BTreeMap<String, Vec<(u64, f64)>>,
    /// Each measure.
    pub(crate) measures: BTreeMap<String, Measured>,
}

impl History {
    /// Reads a record's bytes; the error names the line.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut history = Self::default();
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(Line::Metric { step, metric, value }) => {
                    history.metrics.entry(metric).or_default().push((step, value.0));
                }
                Ok(Line::Measure { measure, value, censored }) => {
                    history.measures.insert(measure, Measured { value: value.0, censored });
                }
                Err(error) => return Err(format!("line {}: {error}", at + 1)),
            }
        }
        Ok(history)
    }
}

/// A number whose JSON form keeps NaN and the infinities, as texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.serialize_str(&self.0.to_string())
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Finite(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Finite(value) => Ok(Self(value)),
            Form::Text(text) => match text.as_str() {
                "NaN" => Ok(Self(f64::NAN)),
                "inf" => Ok(Self(f64::INFINITY)),
                "-inf" => Ok(Self(f64::NEG_INFINITY)),
                _ => Err(serde::de::Error::custom(format_args!("not a number: {text:?}"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut record = Record::default();
        record.metric("loss", 0.1 + 0.2);
        record.advance();
        record.metric("loss", f64::NAN);
        record.metric("loss", f64::NEG_INFINITY);
        record.measure("accuracy", 0.5);
        record.censored("steps", 3000.0);
        let text = String::from_utf8(record.bytes().to_vec()).unwrap();
        assert_eq!(
            text.lines().next(),
            Some(r#"{"step":0,"metric":"loss","value":0.30000000000000004}"#)
        );
        let history = History::parse(record.bytes()).unwrap();
        let loss = &history.metrics["loss"];
        assert_eq!(loss[0], (0, 0.1 + 0.2));
        assert!(loss[1].1.is_nan());
        assert_eq!(loss[2], (1, f64::NEG_INFINITY));
        assert_eq!(history.measures["steps"], Measured { value: 3000.0, censored: true });
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = History::parse(b"{\"measure\":\"a\",\"value\":1.0}\n{\"mea").unwrap_err();
        assert!(error.starts_with("line 2:"), "{error}");
    }
}
