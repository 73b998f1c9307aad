//! `taper`'s own commands.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{cargo, line};

/// Builds `taper` in release mode and becomes it: Ctrl-C, the exit code and the working directory are
/// its own.
pub(crate) fn hand_over(root: &Path, subcommand: &str, arguments: &[OsString]) -> Result<()> {
    built_and_run(root, &[], subcommand, arguments)
}

/// The same for `download`. What it needs is three hundred crates that no experiment does: they are built when it is
/// first asked for, and not on the way from a clone to a report.
pub(crate) fn download(root: &Path, arguments: &[OsString]) -> Result<()> {
    built_and_run(root, &["--features", "hub"], "download", arguments)
}

fn built_and_run(
    root: &Path,
    features: &[&str],
    subcommand: &str,
    arguments: &[OsString],
) -> Result<()> {
    let mut command = cargo();
    command
        .args(["run", "--release", "--package", "taper-experiments", "--bin", "taper"])
        .args(features)
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .args(["--", subcommand])
        .args(arguments);
    become_it(&mut command).with_context(|| format!("starting `{}`", line(&command)))
}

/// Replaces this process; returns only where that fails.
#[cfg(unix)]
fn become_it(command: &mut Command) -> std::io::Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

/// Waits for the command and ends with its exit code.
#[cfg(not(unix))]
fn become_it(command: &mut Command) -> std::io::Result<()> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1))
}
