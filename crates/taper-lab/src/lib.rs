//! The experiment harness: it turns a claim into runs, and runs into a verdict.
//!
//! An experiment is a `spec.toml` (the question, the arms, the settings at each scale, the criteria)
//! and an [`Experiment`] that builds one [`Arm`]. A binary registers its experiments and hands the
//! process over to [`main`], which gives it the whole command line: `list`, `run`, `reproduce`,
//! `report`, `tune`, `new`.
//!
//! The harness knows no model. `arm`, `outcomes`, `stats`, `criterion` and `verdict` read no clock,
//! start no thread and touch no file; `runner`, `store` and the command line do.

mod arm;
mod cli;
mod config;
pub mod criterion;
mod error;
mod evaluate;
mod experiment;
mod key;
pub mod outcomes;
mod plan;
mod present;
mod runner;
mod spec;
pub mod stats;
mod store;
#[cfg(test)]
mod toy;
pub mod verdict;

pub use arm::{Arm, Record};
pub use cli::{Build, Extension, main, main_with, say, table};
pub use config::ConfigError;
pub use error::{BoxError, Error, Result};
pub use experiment::{Context, DataSource, Experiment, Registry, SpecText};
pub use spec::{Role, Scale};
