//! What `cargo xtask bench --peers` runs once the peers are built.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use taper_benches::rounds::{Paths, Plan, measure, render};

mod flags {
    // The macro makes its types public, which a binary's module cannot use.
    #![allow(unreachable_pub)]

    use std::path::PathBuf;

    xflags::xflags! {
        /// Times the same work in several frameworks by turns.
        cmd bench-peers {
            /// The folder of speed.json and speed.md.
            required folder: PathBuf
            /// PyTorch's interpreter; PyTorch is left out without it.
            optional --torch python: PathBuf
            /// burn's peer; burn is left out without it.
            optional --burn program: PathBuf
            /// The beginnings of the names of the rows to measure, with commas between; all without it.
            optional --only names: String
            /// How many times the peers take turns.
            optional --rounds count: usize
            /// How long a peer works in a turn.
            optional --seconds seconds: f64
            /// How often a round is made again because the machine was busy.
            optional --retries count: usize
            /// Measures nothing: writes the page of the record that is there.
            optional --render
            /// Measures nothing: says what is wrong with the other flags.
            optional --check
        }
    }
}

fn main() -> ExitCode {
    match run(flags::BenchPeers::from_env_or_exit()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: flags::BenchPeers) -> Result<()> {
    if flags.render {
        return render(&flags.folder);
    }
    let only = flags.only.unwrap_or_default();
    let plan = Plan {
        only: only.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect(),
        rounds: flags.rounds.unwrap_or(7),
        seconds: flags.seconds.unwrap_or(0.4),
        retries: flags.retries.unwrap_or(4),
    };
    ensure!(plan.rounds > 0, "--rounds: there should be at least one");
    ensure!((0.01..=3600.0).contains(&plan.seconds), "--seconds: from 0.01 to 3600");
    // A wait doubles with each.
    ensure!(plan.retries <= 8, "--retries: 8 at most");
    plan.check()?;
    if flags.check {
        return Ok(());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/torch/peer.py");
    let binary = std::env::current_exe().context("where this program is")?;
    let paths = Paths {
        binaries: binary.parent().map(PathBuf::from).unwrap_or_default(),
        torch: flags.torch.map(|python| (python, script)),
        burn: flags.burn,
    };
    measure(&plan, paths, &flags.folder)
}
