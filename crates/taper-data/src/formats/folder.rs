//! Folders of images, one folder a class.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use taper_core::Result;

use super::{MOST, images, wrong};
use crate::ImageDataset;
use crate::dataset::pixels_of;

const NAME: &str = "read_image_folder";

/// The names of files that are read, by how they end.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// The most bytes of one image file.
const LARGEST: u64 = 1 << 26;

/// Reads the PNG and JPEG images of `folder/<class>/`, each of exactly `shape` (channels, height, width).
///
/// The class called `classes[label]` has that label; [`image_folder_classes`] lists the classes that are there. The order is
/// that of the labels, and within a class that of the files' names. Files of other kinds are left alone. Images are
/// decoded on all processors.
///
/// # Errors
/// A folder that cannot be read or is named like no class, an image that cannot be decoded or has another shape; each
/// names the file.
pub fn read_image_folder(
    folder: &Path,
    classes: &[String],
    shape: [usize; 3],
) -> Result<ImageDataset> {
    let Some(size) = pixels_of(shape) else {
        return Err(wrong(NAME, "shape", "three dimensions of at least 1", format!("{shape:?}")));
    };
    for found in image_folder_classes(folder)? {
        if !classes.contains(&found) {
            let what = format!("the folder {}", folder.join(&found).display());
            return Err(wrong(NAME, what, format!("one of the classes {classes:?}"), found));
        }
    }
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        let folder = folder.join(class);
        if !folder.is_dir() {
            continue;
        }
        let found = sorted(&folder, |path| {
            let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
            ending.is_some_and(|ending| ENDINGS.contains(&&*ending)) && path.is_file()
        })?;
        labels.extend(std::iter::repeat_n(label as u32, found.len()));
        paths.extend(found);
    }
    let length = (paths.len() as u64).checked_mul(size as u64).filter(|length| *length <= MOST);
    if length.is_none() {
        let received = format!("{} images of {shape:?}", paths.len());
        return Err(wrong(NAME, "folder", format!("at most {MOST} bytes of pixels"), received));
    }
    let mut pixels = vec![0; paths.len() * size];
    images::decode_all(NAME, paths.len(), shape, &mut pixels, |at| {
        let path = &paths[at];
        let what = path.display().to_string();
        let unreadable = |error: io::Error| wrong(NAME, &*what, "readable", error);
        let length = fs::metadata(path).map_err(unreadable)?.len();
        if length > LARGEST {
            return Err(wrong(NAME, &*what, format!("at most {LARGEST} bytes"), length));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        Ok((what, bytes))
    })?;
    ImageDataset::new(pixels, shape, u8::MAX, labels, classes.len() as u32)
}

/// The names of the folders in `folder`, sorted: the classes, in the order that PyTorch's `ImageFolder` gives them.
pub fn image_folder_classes(folder: &Path) -> Result<Vec<String>> {
    let folders = sorted(folder, Path::is_dir)?.into_iter();
    let names = folders.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// What is in `folder` and wanted, sorted by name.
fn sorted(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = list()
        .map_err(|error| wrong(NAME, folder.display().to_string(), "a readable folder", error))?;
    paths.retain(|path| wanted(path));
    paths.sort();
    Ok(paths)
}
