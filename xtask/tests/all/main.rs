//! The repository keeps its own rules, and each rule fails where it is broken: shown on small
//! repositories in temporary folders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod arrows;
mod banned;
mod cards;
mod catalogue;
#[cfg(unix)]
mod commands;
mod files;
mod links;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use xtask::tidy::Problem;

/// This repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A repository with these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn lines(problems: anyhow::Result<Vec<Problem>>) -> Vec<String> {
    problems.unwrap().iter().map(ToString::to_string).collect()
}

fn assert_tidy(problems: anyhow::Result<Vec<Problem>>) {
    let lines = lines(problems);
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// There is one problem for each of `expected`, in order, and it holds that text.
fn assert_problems(problems: anyhow::Result<Vec<Problem>>, expected: &[&str]) {
    let lines = lines(problems);
    assert_eq!(lines.len(), expected.len(), "{}", lines.join("\n"));
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{line:?} lacks {expected:?}");
    }
}
