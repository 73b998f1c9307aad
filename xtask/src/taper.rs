//! `taper`'s own commands.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{cargo, line};

/// Builds `taper` in release mode and becomes it: Ctrl-C, the exit code and the working directory are
/// its own.
pub(crate) fn hand_over(root: &Path, subcommand: &str, arguments: &[OsString]) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--release", "--package", "taper-experiments", "--bin", "taper"]);
    // Downloads need nearly two hundred crates that no experiment does: they are built when they are first asked for,
    // and not on the way from a clone to a report.
    if subcommand == "download" {
        command.args(["--features", "hub"]);
    }
    command
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
