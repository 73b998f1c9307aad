//! Experiments on Taper's harness: `cargo run --release -- --help`.

mod experiment;

use std::process::ExitCode;

use taper_lab::{Build, Registry};

/// Keeps the memory of large tensors, which the system's allocator gives back after each step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let registry = Registry::new().with::<experiment::Experiment>();
    let build = Build {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        sources: env!("TAPER_SOURCES_DIGEST"),
    };
    taper_lab::main(registry, build)
}
