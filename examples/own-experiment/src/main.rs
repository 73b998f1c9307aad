//! Experiments on Taper's harness: `cargo run --release -- --help`.

mod experiment;

use std::process::ExitCode;

use taper_lab::{Build, Registry};

fn main() -> ExitCode {
    let registry = Registry::new().with::<experiment::Experiment>();
    let build = Build {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        sources: env!("TAPER_SOURCES_DIGEST"),
    };
    taper_lab::main(registry, build)
}
