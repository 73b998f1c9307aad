//! `cargo xtask`: builds and drives `taper`, and checks the project.

mod bench;
mod cards;
mod catalogue;
mod ci;
mod flags;
mod goldens;
mod peers;
mod process;
mod taper;
#[cfg(test)]
mod tidy;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use flags::{Xtask, XtaskCmd};

fn main() -> ExitCode {
    match dispatch(&process::root(), Xtask::of_process().subcommand) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(root: &Path, command: XtaskCmd) -> Result<()> {
    match command {
        XtaskCmd::List(list) => taper::hand_over(root, "list", &list.arguments),
        XtaskCmd::Run(run) => taper::hand_over(root, "run", &run.arguments),
        XtaskCmd::Reproduce(reproduce) => taper::hand_over(root, "reproduce", &reproduce.arguments),
        XtaskCmd::Report(report) => taper::hand_over(root, "report", &report.arguments),
        XtaskCmd::Tune(tune) => taper::hand_over(root, "tune", &tune.arguments),
        XtaskCmd::New(new) => taper::hand_over(root, "new", &new.arguments),
        XtaskCmd::Download(download) => taper::hand_over(root, "download", &download.arguments),
        XtaskCmd::Ci(_) => ci::ci(root),
        XtaskCmd::Goldens(goldens) => goldens::goldens(root, &goldens.crates, goldens.check),
        XtaskCmd::Bench(flags) if flags.peers => peers::peers(root, &flags),
        XtaskCmd::Bench(flags) if flags.is_of_peers() => {
            bail!("bench: --only, --without and the like go with --peers")
        }
        XtaskCmd::Bench(flags) => bench::bench(root, &flags.arguments),
        XtaskCmd::Catalogue(flags) if flags.check => catalogue::check(root),
        XtaskCmd::Catalogue(_) => catalogue::write(root),
    }
}
