//! `cargo xtask goldens`: the numbers of the reference implementations.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::run;

/// What the scripts share, and the packages they need.
const SHARED: &str = "xtask/goldens";

/// The virtual environment.
const VENV: &str = ".venv";

/// Runs the golden scripts of `crates` (of all where it is empty), which write beside themselves. With
/// `check` they write elsewhere and what they wrote is compared with what is there.
pub(crate) fn goldens(root: &Path, crates: &[String], check: bool) -> Result<()> {
    let scripts = scripts(root, crates)?;
    let python = python(root)?;
    let fresh = root.join(VENV).join("fresh-goldens");
    if check && fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("removing {}", fresh.display()))?;
    }
    for script in &scripts {
        let mut command = Command::new(&python);
        command.arg(script).current_dir(root).env("PYTHONPATH", root.join(SHARED));
        if check {
            command.env("TAPER_GOLDEN_OUT", &fresh);
        }
        run(&mut command)?;
    }
    if check {
        let compare = root.join(SHARED).join("compare.py");
        run(Command::new(&python).arg(compare).arg(&fresh).current_dir(root))?;
    }
    Ok(())
}

/// `crates/*/tests/golden/*.py`, in order.
fn scripts(root: &Path, crates: &[String]) -> Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    let mut known = Vec::new();
    for folder in entries(&root.join("crates"))? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let golden = folder.join("tests/golden");
        if !golden.is_dir() {
            continue;
        }
        if crates.is_empty() || crates.contains(&name) {
            let files = entries(&golden)?.into_iter();
            scripts.extend(files.filter(|file| file.extension().is_some_and(|e| e == "py")));
        }
        known.push(name);
    }
    if let Some(unknown) = crates.iter().find(|name| !known.contains(name)) {
        bail!("goldens: no crate {unknown:?} has tests/golden; these do: {}", known.join(", "));
    }
    Ok(scripts)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        entries.collect()
    };
    let mut paths = read().with_context(|| format!("reading {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

/// The interpreter of a virtual environment with what requirements.txt asks for, made where there is
/// none or where it was made from another list.
pub(crate) fn python(root: &Path) -> Result<PathBuf> {
    let venv = root.join(VENV);
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let requirements = root.join(SHARED).join("requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("reading {}", requirements.display()))?;
    // A copy of the list, left last: what an interrupted installation left behind is made again.
    let installed = venv.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--requirement"]).arg(&requirements))?;
    fs::write(&installed, wanted).with_context(|| format!("writing {}", installed.display()))?;
    Ok(python)
}
