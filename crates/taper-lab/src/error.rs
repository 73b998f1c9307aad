//! What the harness reports to a person.

use std::path::{Path, PathBuf};

use crate::config::ConfigError;

/// An error of an experiment's own code, whatever its crate.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, sorted by who can mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A spec or an override is wrong: the person at the keyboard mends it.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The command cannot be carried out as typed.
    #[error("{0}")]
    Usage(String),
    /// An experiment's own code failed.
    #[error("{experiment}, arm {arm}, seed {seed}: {source}")]
    Arm {
        /// The experiment.
        experiment: String,
        /// The arm.
        arm: String,
        /// The seed.
        seed: u64,
        /// What its code said.
        source: BoxError,
    },
    /// A file of the store could not be read or written.
    #[error("{}: could not {action}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Runs failed; each was said when it happened.
    #[error("{failed} of {planned} runs failed; the others are kept. The first: {first}")]
    Failed {
        /// How many failed.
        failed: usize,
        /// How many were to be run.
        planned: usize,
        /// The first failure.
        first: String,
    },
    /// The person asked to stop.
    #[error("stopped. What was done is saved; the same command goes on from there")]
    Interrupted,
    /// A criterion could not be evaluated.
    #[error("{experiment}: {reason}")]
    Criterion {
        /// The experiment.
        experiment: String,
        /// What is wrong.
        reason: String,
    },
    /// The report could not be made.
    #[error("report: {0}")]
    Report(#[from] taper_report::Error),
    /// A defect of the harness itself.
    #[error("internal: {0}")]
    Internal(String),
}

/// `std::result::Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// 2 for what was typed or written wrongly, 130 for an interrupt (128 + SIGINT), 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}
