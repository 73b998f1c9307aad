//! Structural checks: what the compiler and clippy cannot know about this repository.
//!
//! Each check takes the root of a repository and returns the [`Problem`]s that it found there. Its tests
//! hold this repository to it, and show on small ones in temporary folders that it fails where its rule is
//! broken. All of it is test code, so that `cargo xtask` need not compile it on the way to a report.

mod arrows;
mod banned;
mod cards;
mod files;
mod lexer;
mod links;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The file, relative to the root.
    pub(crate) path: PathBuf,
    /// The line, from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// What is wrong, why that matters, what to do instead.
    pub(crate) message: String,
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

/// The folders of the workspace's members, relative to `root`: `crates/*`, `benches`, `xtask`.
pub(crate) fn members(root: &Path) -> Result<Vec<PathBuf>> {
    let mut members = vec![PathBuf::from("benches"), PathBuf::from("xtask")];
    let crates = root.join("crates");
    if crates.is_dir() {
        for entry in
            fs::read_dir(&crates).with_context(|| format!("reading {}", crates.display()))?
        {
            members.push(Path::new("crates").join(entry?.file_name()));
        }
    }
    members.retain(|member| root.join(member).join("Cargo.toml").is_file());
    members.sort();
    Ok(members)
}

/// This repository.
pub(crate) fn repository() -> PathBuf {
    crate::process::root()
}

/// A repository with these files.
pub(crate) fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn lines(problems: Result<Vec<Problem>>) -> Vec<String> {
    problems.unwrap().iter().map(ToString::to_string).collect()
}

pub(crate) fn assert_tidy(problems: Result<Vec<Problem>>) {
    let lines = lines(problems);
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// There is one problem for each of `expected`, in order, and it holds that text.
pub(crate) fn assert_problems(problems: Result<Vec<Problem>>, expected: &[&str]) {
    let lines = lines(problems);
    assert_eq!(lines.len(), expected.len(), "{}", lines.join("\n"));
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{line:?} lacks {expected:?}");
    }
}
