//! `cargo xtask bench --peers`: the same work in other frameworks, by turns with ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::flags::Bench;
use crate::goldens::python;
use crate::process::{cargo, run, target_folder};

/// burn's peer has a lock file of its own, so that the workspace's stays free of burn.
const BURN: &str = "benches/peers/burn/Cargo.toml";

/// Builds the peers and lets `bench-peers` measure.
pub(crate) fn peers(root: &Path, flags: &Bench) -> Result<()> {
    let without: Vec<&str> = flags.without.iter().flat_map(|list| list.split(',')).collect();
    for name in &without {
        ensure!(["torch", "burn"].contains(name), "--without: {name:?} is neither torch nor burn");
    }
    ensure!(flags.arguments.is_empty(), "bench --peers takes no arguments");
    let target = target_folder().unwrap_or_else(|| root.join("target"));
    run(build(root).args(["--package", "taper-benches", "--bins", "--target-dir"]).arg(&target))?;
    let release = target.join("release");
    let driver = || {
        let mut command = Command::new(program(&release, "bench-peers"));
        command.arg(flags.folder.clone().unwrap_or_else(|| root.join("docs")));
        let values = [
            ("--only", flags.only.clone()),
            ("--rounds", flags.rounds.map(|count| count.to_string())),
            ("--seconds", flags.seconds.map(|seconds| seconds.to_string())),
            ("--retries", flags.retries.map(|count| count.to_string())),
        ];
        for (flag, value) in values {
            command.args(value.iter().flat_map(|value| [flag, value]));
        }
        command
    };
    if flags.render {
        return run(driver().arg("--render"));
    }
    // Before the others are built, which takes minutes.
    run(driver().arg("--check"))?;
    let mut command = driver();
    if !without.contains(&"burn") {
        let target = target.join("peers");
        run(build(root).args(["--manifest-path", BURN, "--target-dir"]).arg(&target))?;
        command.arg("--burn").arg(program(&target.join("release"), "taper-peer-burn"));
    }
    if !without.contains(&"torch") {
        command.arg("--torch").arg(python(root)?);
    }
    run(&mut command)
}

fn build(root: &Path) -> Command {
    let mut command = cargo();
    command.current_dir(root).args(["build", "--release", "--locked"]);
    command
}

fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
