//! The `taper` binary from outside: what a person types, what comes back, what is on disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bad_input;
mod data;
mod determinism;
mod report;
mod skeleton;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The experiments of the registry.
const EXPERIMENTS: [&str; 14] = [
    "bn-converges-faster",
    "bn-tolerates-init-and-rate",
    "bn-gain-is-the-rate",
    "ics-is-not-the-cause",
    "bn-smooths-the-landscape",
    "bn-generalizes",
    "norms-and-small-batches",
    "linear-ae-is-pca",
    "losses-are-what-they-say",
    "mse-can-classify",
    "mae-resists-label-noise",
    "negatives-prevent-collapse",
    "focal-helps-imbalance",
    "smoothing-calibrates",
];

/// `taper ARGS` with its store in `store` and a plain environment.
fn taper(store: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taper"));
    command.args(args).env("TAPER_STORE", store).env("TAPER_DATA", store.join("data"));
    command.env_remove("RUST_BACKTRACE").env_remove("HF_HUB_OFFLINE");
    command
}

fn run(store: &Path, args: &[&str]) -> Output {
    taper(store, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs and expects success.
fn good(store: &Path, args: &[&str]) -> String {
    let output = run(store, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Every file of this name below the store's runs, by its path within the store.
fn files(store: &Path, name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![store.join("runs")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|file| file == name) {
                let key = path.strip_prefix(store).unwrap().display().to_string();
                found.insert(key, fs::read(path).unwrap());
            }
        }
    }
    found
}
