//! `taper`: runs the experiments of this workspace.

use std::process::ExitCode;

use taper_lab::Build;

fn main() -> ExitCode {
    let build = Build {
        name: "taper",
        version: env!("CARGO_PKG_VERSION"),
        sources: env!("TAPER_SOURCES_DIGEST"),
    };
    taper_lab::main(taper_experiments::registry(), build)
}
