//! `taper`: runs the experiments of this workspace.

mod download;

use std::process::ExitCode;

use taper_lab::Build;

/// A step allocates and frees the same large tensors again and again: the system's allocator gives them
/// back to the system each time and gets them cleared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let build = Build {
        name: "taper",
        version: env!("CARGO_PKG_VERSION"),
        sources: env!("TAPER_SOURCES_DIGEST"),
    };
    taper_lab::main_with(taper_experiments::registry(), build, &[download::extension()])
}
