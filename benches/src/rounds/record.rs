//! What was measured, as it is on disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// What measured last.
    pub(super) command: String,
    pub(super) machine: Machine,
    /// By name.
    pub(super) programs: BTreeMap<String, Introduction>,
    /// By name.
    pub(super) rows: BTreeMap<String, Measured>,
    /// By the work's name.
    pub(super) memory: BTreeMap<String, Memory>,
}

/// Where it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) processors: usize,
    /// The widest vector instructions.
    pub(super) instructions: String,
    pub(super) system: String,
    pub(super) rustc: String,
}

/// Who a peer says that it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Introduction {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) threads: usize,
    pub(super) settings: BTreeMap<String, String>,
}

/// The times of one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Measured {
    /// When, in UTC.
    pub(super) date: String,
    /// Of this repository.
    pub(super) commit: String,
    /// Whether the machine did something else, too, each time that a round was made.
    pub(super) busy: bool,
    /// By the column's name.
    pub(super) columns: BTreeMap<String, Cell>,
}

/// One column of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Cell {
    Times(Times),
    Unsupported { unsupported: String },
}

impl Cell {
    pub(super) fn times(&self) -> Option<&Times> {
        match self {
            Self::Times(times) => Some(times),
            Self::Unsupported { .. } => None,
        }
    }
}

/// Times in milliseconds, less those of the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Times {
    /// Of all samples.
    pub(super) median: f64,
    pub(super) p10: f64,
    pub(super) p90: f64,
    pub(super) samples: usize,
    /// What was taken off.
    pub(super) base: f64,
    /// The median of each round.
    pub(super) rounds: Vec<f64>,
}

/// The memory of one training step, by the program's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) programs: BTreeMap<String, Kept>,
}

/// What a process's memory was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Kept {
    Memory {
        /// Before the first step.
        held_kib: u64,
        /// The peak of the process.
        peak_kib: u64,
        /// The peak from the first step on.
        peak_of_steps_kib: u64,
    },
    Unsupported {
        unsupported: String,
    },
}

impl Kept {
    /// The peak of the process, and how far it rose above what was held before the first step.
    pub(super) fn peaks(&self) -> Option<[u64; 2]> {
        match self {
            Self::Memory { held_kib, peak_kib, peak_of_steps_kib } => {
                Some([*peak_kib, peak_of_steps_kib.saturating_sub(*held_kib)])
            }
            Self::Unsupported { .. } => None,
        }
    }
}

impl Record {
    pub(super) fn new(
        machine: Machine,
        programs: BTreeMap<String, Introduction>,
        command: String,
    ) -> Self {
        Self { command, machine, programs, rows: BTreeMap::new(), memory: BTreeMap::new() }
    }

    /// What sets the two apart, so that rows of both cannot stand in one table.
    pub(super) fn difference(&self, new: &Self) -> Option<String> {
        if self.machine != new.machine {
            return Some(format!("machine ({:?}, here {:?})", self.machine, new.machine));
        }
        let mut both =
            self.programs.iter().filter_map(|(name, old)| Some((old, new.programs.get(name)?)));
        let (old, new) = both.find(|(old, new)| old != new)?;
        Some(format!("program ({old:?}, here {new:?})"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Cell, Record};

    /// A record with a few rows.
    pub(in crate::rounds) const FIXTURE: &str = include_str!("fixture.json");

    pub(in crate::rounds) fn fixture() -> Record {
        serde_json::from_str(FIXTURE).unwrap()
    }

    #[test]
    fn a_record_comes_back_from_its_text() {
        let record = fixture();
        let text = serde_json::to_string_pretty(&record).unwrap();
        assert_eq!(text.trim_end(), FIXTURE.trim_end());
        let unsupported = &record.rows["mlp"].columns["torch+compiled"];
        assert!(
            matches!(unsupported, Cell::Unsupported { unsupported } if unsupported == "no C++ compiler")
        );
        assert!(serde_json::from_str::<Record>(&text.replace("\"median\"", "\"mean\"")).is_err());
    }

    #[test]
    fn records_of_different_machines_or_versions_differ() {
        let old = fixture();
        assert_eq!(old.difference(&old), None);
        let mut other = fixture();
        other.machine.processors = 64;
        assert!(old.difference(&other).unwrap().starts_with("machine"));
        let mut other = fixture();
        other.programs.get_mut("torch").unwrap().version = "3.0.0".to_owned();
        assert!(old.difference(&other).unwrap().starts_with("program"));
        other.programs.remove("torch");
        assert_eq!(old.difference(&other), None);
    }
}
