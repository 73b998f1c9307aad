//! `cargo xtask bench`.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::process::{cargo, run};

/// Runs the benches with `cargo bench`'s own arguments.
pub(crate) fn bench(root: &Path, arguments: &[OsString]) -> Result<()> {
    run(cargo().current_dir(root).args(["bench", "--package", "taper-benches"]).args(arguments))
}
