//! One digest of the sources and the locked packages that a run's numbers depend on.
//!
//! A build script calls [`emit`]; the crate then reads `env!("TAPER_SOURCES_DIGEST")` and puts it
//! into the key of every run. The digest takes in
//!
//! - the `.rs` files below `src` of the package and of the packages it depends on by path, also
//!   through each other (not dev- and build-dependencies: they are not linked);
//! - for every other package that those bring, its name, version and checksum in Cargo.lock, and the
//!   features that the path packages ask of it.
//!
//! Only `.rs` files count: the settings in a `spec.toml` and the digests of the data are in a run's
//! key by themselves, and documentation makes no number. For the same reason `taper-lab` and
//! `taper-report` are left out, wherever they come from: the harness versions the form of its records
//! itself. An edit to a README, a bench or another crate's dependency leaves every run valid.
//!
//! Paths are relative to their package and line ends are those of Unix, so a checkout elsewhere gives
//! the same digest.

mod error;
mod lock;
mod manifest;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use error::{Error, Result};
use lock::Lock;
use manifest::Manifest;

/// What makes no numbers. What these need in their turn counts where others need it too.
const LEFT_OUT: [&str; 3] = ["taper-lab", "taper-report", "taper-sources"];

/// Tells cargo the digest of the package whose build script calls this, as the environment variable
/// `TAPER_SOURCES_DIGEST` of its compilation, and what to watch.
///
/// # Errors
///
/// Where cargo does not run the build script, or as [`sources`].
///
/// ```no_run
/// fn main() -> taper_sources::Result<()> {
///     taper_sources::emit()
/// }
/// ```
pub fn emit() -> Result<()> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or(Error::NoBuildScript)?;
    let sources = sources(Path::new(&package))?;
    let mut lines = format!("cargo::rustc-env=TAPER_SOURCES_DIGEST={}\n", sources.digest);
    for path in &sources.read {
        lines += &format!("cargo::rerun-if-changed={}\n", path.display());
    }
    io::stdout()
        .lock()
        .write_all(lines.as_bytes())
        .map_err(Error::read(Path::new("standard output")))
}

/// A digest and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// SHA-256, in lower-case hex.
    pub digest: String,
    /// The files and `src` folders that were read, and nothing else.
    pub read: BTreeSet<PathBuf>,
}

/// The digest of the package in the folder `package`.
///
/// # Errors
///
/// Where a Cargo.toml, a Cargo.lock or a source file cannot be read, or does not say what cargo
/// would want it to say.
pub fn sources(package: &Path) -> Result<Sources> {
    let mut read = BTreeSet::new();
    let packages = path_packages(package, &mut read)?;
    // Sorted, so that neither the order of dependencies nor that of a folder's entries counts.
    let mut entries = BTreeSet::new();
    let mut outside = BTreeSet::new();
    for package in &packages {
        for dependency in &package.outside {
            outside.insert(dependency.name.as_str());
            entries.insert(format!("{} asks {dependency}", package.name));
        }
        let folder = package.folder.join("src");
        for file in rust_files(&folder)? {
            entries.insert(source_entry(package, &file)?);
        }
        read.insert(folder);
    }
    match Lock::above(package)? {
        Some(lock) => {
            entries.extend(lock.reachable(&outside));
            read.insert(lock.path);
        }
        None => {
            entries.insert("no Cargo.lock".to_owned());
        }
    }
    let mut hash = Sha256::new();
    for entry in &entries {
        hash.update(entry);
        hash.update("\n");
    }
    Ok(Sources { digest: hex(&hash.finalize()), read })
}

/// The package in `folder` and those it depends on by path, directly or not; not [`LEFT_OUT`].
fn path_packages(folder: &Path, read: &mut BTreeSet<PathBuf>) -> Result<Vec<Manifest>> {
    let mut waiting = vec![folder.to_path_buf()];
    let mut seen = BTreeSet::new();
    let mut packages = Vec::new();
    while let Some(folder) = waiting.pop() {
        let folder = fs::canonicalize(&folder).map_err(Error::read(&folder))?;
        if !seen.insert(folder.clone()) {
            continue;
        }
        let manifest = Manifest::read(&folder, read)?;
        if !LEFT_OUT.contains(&manifest.name.as_str()) {
            waiting.extend(manifest.by_path.iter().cloned());
            packages.push(manifest);
        }
    }
    Ok(packages)
}

/// The `.rs` files below `folder`.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::read(folder))? {
        let path = entry.map_err(Error::read(folder))?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// A source file's place and the digest of its text.
fn source_entry(package: &Manifest, file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).map_err(Error::read(file))?;
    let digest = Sha256::digest(text.replace("\r\n", "\n"));
    let place = file.strip_prefix(&package.folder).unwrap_or(file);
    let place: Vec<_> = place.iter().map(|part| part.to_string_lossy()).collect();
    Ok(format!("{} {} {}", package.name, place.join("/"), hex(&digest)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
