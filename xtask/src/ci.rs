//! `cargo xtask ci`: all that has to hold before a change goes in.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process::{cargo, line, run, target_folder};

/// The worked example: a crate outside the workspace, as a user's would be.
const EXAMPLE: &str = "examples/own-experiment/Cargo.toml";

/// Runs the steps in order and stops at the first that fails.
pub(crate) fn ci(root: &Path) -> Result<()> {
    let mut steps = workspace_steps(has_nextest());
    if root.join(EXAMPLE).is_file() {
        steps.extend(example_steps());
    } else {
        eprintln!("ci: {EXAMPLE} is not there: its steps are left out");
    }
    let total = steps.len();
    for (done, step) in steps.iter_mut().enumerate() {
        let number = done + 1;
        eprintln!("\nci: step {number} of {total}: {}", line(step));
        run(step.current_dir(root)).with_context(|| format!("ci: step {number} of {total}"))?;
    }
    eprintln!("\nci: all {total} steps passed");
    Ok(())
}

fn workspace_steps(nextest: bool) -> Vec<Command> {
    let tests: &[&str] = if nextest {
        &["nextest", "run", "--workspace", "--locked"]
    } else {
        &["test", "--workspace", "--lib", "--bins", "--tests", "--locked"]
    };
    let mut steps = vec![
        step(&["fmt", "--all", "--check"]),
        step(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        step(tests),
        step(&["test", "--workspace", "--doc", "--locked"]),
    ];
    steps.extend(other_paths());
    steps.extend(with_features());
    let mut docs = step(&["doc", "--workspace", "--no-deps", "--locked"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    steps.push(docs);
    steps.push(step(&["xtask", "catalogue", "--check"]));
    steps
}

/// The tests of what rests on the kernels, without special instructions and with more threads than most
/// machines have.
fn other_paths() -> [Command; 2] {
    [("TAPER_SIMD", "portable"), ("TAPER_NUM_THREADS", "5")].map(|(variable, value)| {
        let packages = ["taper-kernels", "taper-core", "taper-losses", "taper-norm"];
        let mut tests = step(&["test", "--lib", "--tests", "--locked"]);
        tests.args(packages.iter().flat_map(|package| ["--package", package]));
        tests.env(variable, value);
        tests
    })
}

/// What comes with a feature that is off by default.
fn with_features() -> [Command; 2] {
    let data = ["--package", "taper-data", "--features", "hub,candle-datasets"];
    let (mut lints, mut tests) = (step(&["clippy"]), step(&["test"]));
    lints.args(data).args(["--all-targets", "--locked", "--", "-D", "warnings"]);
    tests.args(data).args(["--lib", "--tests", "--locked"]);
    [lints, tests]
}

/// The example has a lock file and a target folder of its own; the folder is shared with the
/// workspace, so that what both need is compiled once.
fn example_steps() -> Vec<Command> {
    let shared = target_folder();
    let mut steps = vec![
        step(&[
            "clippy",
            "--manifest-path",
            EXAMPLE,
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
        step(&["test", "--manifest-path", EXAMPLE, "--locked"]),
    ];
    for step in &mut steps {
        step.envs(shared.as_ref().map(|folder| ("CARGO_TARGET_DIR", folder)));
    }
    steps
}

fn step(arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.args(arguments);
    command
}

fn has_nextest() -> bool {
    let mut version = step(&["nextest", "--version"]);
    let quiet = version.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
