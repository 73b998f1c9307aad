//! The files of a repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files below `root/folder`, relative to `root` and sorted; none where the folder is not there.
/// Hidden folders, build outputs and run stores are left out.
pub(crate) fn files(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if root.join(folder).is_dir() {
        collect(root, folder, &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let reading = || format!("reading {}", root.join(folder).display());
    for entry in fs::read_dir(root.join(folder)).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let path = folder.join(entry.file_name());
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type().with_context(reading)?.is_dir() {
            files.push(path);
        } else if !name.starts_with('.') && name != "target" && name != "taper-store" {
            collect(root, &path, files)?;
        }
    }
    Ok(())
}

/// The files below `root/folder` whose name ends in `.extension`, each with its text.
pub(crate) fn texts(root: &Path, folder: &Path, extension: &str) -> Result<Vec<(PathBuf, String)>> {
    let files = files(root, folder)?.into_iter();
    files
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .map(|path| Ok((path.clone(), read(root, &path)?)))
        .collect()
}

/// The text of `root/path`.
pub(crate) fn read(root: &Path, path: &Path) -> Result<String> {
    let path = root.join(path);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}
