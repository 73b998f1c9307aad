//! Data sets from files that are at hand, in whichever form.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::card::{Card, Original};
use crate::formats::{Cifar, read_cifar, read_idx, read_image_folder, read_parquet};
use crate::store::{DataStore, Files, ReadPart, Record};
use crate::{DataName, Error, ImageDataset, Result};

/// How deep below the folder files are looked for: the snapshot of a hub's cache has them three folders down.
const DEPTH: usize = 4;

/// Reads the data set called `name` from the files below `folder`, verifies it, and keeps it in `store`; `wait` is called
/// where another process is at the same data set, whose end is then waited for.
///
/// Where paths below `folder` name the data set, or the hub's repository of it, only those are looked at. For each part the
/// first of these that is there is taken:
///
/// 1. IDX: `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, `t10k-…` or `test-…` for the test part, also with a
///    `.` for the second `-`, plain or `.gz`;
/// 2. the binary files of CIFAR: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, `train.bin` and `test.bin`;
/// 3. parquet: files whose name, or whose folder's, begins with the part's;
/// 4. a folder called like the part, with a folder a class in it, called by its name or its number.
///
/// # Errors
/// A part that is in none of these forms, parquet files of it in more than one folder, a file that does not hold what its form says, a content that is not the card's:
/// nothing is kept then.
pub fn import(
    name: &DataName,
    folder: &Path,
    store: &DataStore,
    wait: impl FnOnce(),
) -> Result<Record> {
    let card = name.card()?;
    let _lock = store.lock(name, wait)?;
    let mut below = Vec::new();
    collect(folder, DEPTH, &mut below)?;
    let own = own(&card, folder, &below);
    let below = if own.is_empty() { below } else { own };
    let mut parts = Vec::new();
    for part in &card.parts {
        let part = &part.name;
        let images = match find(&card, part, &below) {
            Some(Found::Parquet(files)) if folders(&files).len() > 1 => {
                return Err(Error::Content {
                    name: name.to_string(),
                    part: part.clone(),
                    reason: format!(
                        "there are parquet files of a part {part} in {}: give the folder that has {name}",
                        folders(&files).join(" and ")
                    ),
                });
            }
            Some(found) => found.read(&card)?,
            None => {
                return Err(Error::Content {
                    name: name.to_string(),
                    part: part.clone(),
                    reason: format!(
                        "no file of it is below {}; IDX files ({part}-images-idx3-ubyte …), CIFAR's .bin files, \
                         {part}*.parquet and a folder {part} with a folder a class were looked for",
                        folder.display()
                    ),
                });
            }
        };
        parts.push(ReadPart { name: part.clone(), images, files: Files::Unknown });
    }
    store.keep(name, &parts, &format!("files in {}", folder.display()))
}

/// The files of a part.
enum Found {
    Idx { images: PathBuf, labels: PathBuf },
    Cifar(Cifar, Vec<PathBuf>),
    Parquet(Vec<PathBuf>),
    Folder(PathBuf),
}

impl Found {
    fn read(self, card: &Card) -> Result<ImageDataset> {
        let open = |path: &PathBuf| File::open(path).map_err(Error::io("read", path));
        let classes = card.classes.len() as u32;
        // Which file it was: a reader knows them by number only.
        let named = |path: &Path| {
            let path = path.to_owned();
            move |error: taper_core::Error| Error::File { path, reason: error.to_string() }
        };
        match self {
            Self::Idx { images, labels } => {
                read_idx(open(&images)?, open(&labels)?, classes).map_err(named(&images))
            }
            Self::Cifar(kind, files) => {
                let opened = files.iter().map(open).collect::<Result<Vec<_>>>()?;
                read_cifar(kind, opened).map_err(named(&files[0]))
            }
            Self::Parquet(files) => parquet(card, &files),
            Self::Folder(folder) => {
                let numbers: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
                let numbered = folder.join("0").is_dir();
                let names = if numbered { &numbers } else { &card.classes };
                Ok(read_image_folder(&folder, names, card.shape)?)
            }
        }
    }
}

/// Reads the parquet files of a data set, each with the columns that the hub's have.
pub(crate) fn parquet(card: &Card, files: &[PathBuf]) -> Result<ImageDataset> {
    let (image, label) = match &card.hub {
        Some(hub) => (hub.image.as_str(), hub.label.as_str()),
        None => ("image", "label"),
    };
    let opened = files.iter().map(|path| File::open(path).map_err(Error::io("read", path)));
    let opened = opened.collect::<Result<Vec<_>>>()?;
    let read = read_parquet(opened, image, label, card.shape, card.classes.len() as u32);
    read.map_err(|error| Error::File {
        path: files.first().cloned().unwrap_or_default(),
        reason: error.to_string(),
    })
}

/// The files of `part` among the paths `below` the folder.
fn find(card: &Card, part: &str, below: &[PathBuf]) -> Option<Found> {
    let named = |name: &str| below.iter().find(|path| path.ends_with(name) && path.is_file());
    let prefixes: &[&str] = if part == "test" { &["t10k", "test"] } else { &[part] };
    for prefix in prefixes {
        let either = |kind: &str| {
            let names =
                [format!("{prefix}-{kind}"), format!("{prefix}-{}", kind.replacen('-', ".", 1))];
            names.iter().find_map(|name| named(name).or_else(|| named(&format!("{name}.gz"))))
        };
        if let (Some(images), Some(labels)) =
            (either("images-idx3-ubyte"), either("labels-idx1-ubyte"))
        {
            return Some(Found::Idx { images: images.clone(), labels: labels.clone() });
        }
    }
    let batches: Vec<String> = match (card.original, part) {
        (Some(Original::Cifar10), "train") => {
            (1..=5).map(|batch| format!("data_batch_{batch}.bin")).collect()
        }
        (Some(Original::Cifar10), _) => vec![format!("{part}_batch.bin")],
        _ => vec![format!("{part}.bin")],
    };
    let kind = match card.original {
        Some(Original::Cifar10) => Some(Cifar::Ten),
        Some(Original::Cifar100) => Some(Cifar::Hundred),
        _ => None,
    };
    let all = || batches.iter().map(|name| named(name).cloned()).collect::<Option<Vec<_>>>();
    if let Some((kind, files)) = kind.and_then(|kind| Some((kind, all()?))) {
        return Some(Found::Cifar(kind, files));
    }
    let begins = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(part))
    };
    let parquet = below.iter().filter(|path| {
        let ending = path.extension().is_some_and(|ending| ending == "parquet") && path.is_file();
        ending && (begins(path) || path.parent().is_some_and(begins))
    });
    let parquet: Vec<PathBuf> = parquet.cloned().collect();
    if !parquet.is_empty() {
        return Some(Found::Parquet(parquet));
    }
    let folder = below.iter().find(|path| path.ends_with(part) && path.is_dir());
    folder.cloned().map(Found::Folder)
}

/// The paths below `folder` that a folder's name says to be the data set's: its own, or that of its repository in the hub or
/// in the hub's cache.
fn own(card: &Card, folder: &Path, below: &[PathBuf]) -> Vec<PathBuf> {
    let repository = card.hub.iter().flat_map(|hub| {
        let last = hub.repository.rsplit('/').next().unwrap_or_default().to_owned();
        [last, format!("datasets--{}", hub.repository.replace('/', "--"))]
    });
    let names: Vec<String> = repository.chain([card.name.clone()]).collect();
    let is_own = |path: &&PathBuf| {
        let inside = path.strip_prefix(folder).ok().and_then(Path::parent);
        let mut parts = inside.into_iter().flat_map(Path::iter);
        parts.any(|part| names.iter().any(|name| part == name.as_str()))
    };
    below.iter().filter(is_own).cloned().collect()
}

/// The folders that files are in.
fn folders(files: &[PathBuf]) -> Vec<String> {
    let mut folders: Vec<String> =
        files.iter().filter_map(|path| Some(path.parent()?.display().to_string())).collect();
    // The paths are sorted.
    folders.dedup();
    folders
}

/// What is below `folder`, sorted, and `depth` folders deep.
fn collect(folder: &Path, depth: usize, below: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Error::io("list the files", folder))?;
    let mut paths = entries
        .map(|entry| Ok(entry.map_err(Error::io("list the files", folder))?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let deeper = path.is_dir() && depth > 1;
        below.push(path.clone());
        if deeper {
            collect(&path, depth - 1, below)?;
        }
    }
    Ok(())
}
