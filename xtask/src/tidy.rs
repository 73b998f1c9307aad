//! Structural checks: what the compiler and clippy cannot know about this repository.
//!
//! Each takes the root of a repository and returns the [`Problem`]s that it found there.

pub mod arrows;
pub mod banned;
pub mod files;
mod lexer;
pub mod links;
pub(crate) mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, relative to the root.
    pub path: PathBuf,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong, why that matters, what to do instead.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(path: &Path, line: usize, message: impl Into<String>) -> Self {
        let path = path.to_path_buf();
        let message = message.into();
        Self { path, line, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.line {
            0 => write!(f, "{path}: {}", self.message),
            line => write!(f, "{path}:{line}: {}", self.message),
        }
    }
}
