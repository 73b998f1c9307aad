//! The data sets on this machine: each verified before it is kept, and again when it is read.
//!
//! ```text
//! <root>/<name>/record.toml     where it came from, and its digests
//! <root>/<name>/<part>.images   images and labels; the SHA-256 of the file is the content digest
//! <root>/<name>.lock            held by the process that is fetching it
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::card::Card;
use crate::disk::{self, write_whole};
use crate::formats::{read_images, write_images};
use crate::original::is_original;
use crate::{DataName, Error, ImageDataset, Result, digits};

const RECORD: &str = "record.toml";

/// What this machine has of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is not here, or not all of it.
    Absent,
    /// All its parts are here, as they were kept.
    Whole,
    /// A part is not what was kept.
    Damaged {
        /// Which, in what way, and what to do.
        reason: String,
    },
}

/// A folder of verified data sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataStore {
    root: PathBuf,
}

/// What is known of a data set that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name.
    pub name: DataName,
    /// Where it came from.
    pub source: String,
    /// Its parts, in the order of the card.
    pub parts: Vec<PartRecord>,
}

impl Record {
    fn part(&self, name: &str) -> Option<&PartRecord> {
        self.parts.iter().find(|part| part.name == name)
    }
}

/// What is known of a part of a data set that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRecord {
    /// Its name.
    pub name: String,
    /// How many images it has.
    pub images: usize,
    /// Its [`ImageDataset::content_digest`].
    pub content_digest: String,
    /// What shows that it is what it is called.
    pub proof: Proof,
}

/// What shows that a content is the data set of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Its digest is the card's.
    Digest,
    /// Its makers' own files, made again from it, have the MD5 sums that the card has.
    Originals,
    /// The files that it was read from have the SHA-256 that the card has.
    Files,
    /// Nothing: the card knows neither. It is the first that was seen here, and whatever comes later must be the same.
    FirstSeen,
    /// Nothing: a variant is what it is; whatever comes later under its name must be the same.
    Variant,
}

/// A part of a data set that has been read and is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPart {
    /// Its name.
    pub name: String,
    /// What was read.
    pub images: ImageDataset,
    /// How the files that it was read from stand to the card.
    pub files: Files,
}

/// How files stand to the SHA-256 that a card has of them, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Files {
    /// They have it.
    Known,
    /// The card has none of such files.
    Unknown,
    /// They have another.
    Others,
}

/// The lock of a data set: nobody else fetches it while it is held.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataStore {
    /// The store in the folder `root`, which is made when something is kept.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The user's store: the folder that `TAPER_DATA` names, else `taper/data` where the system keeps a user's data
    /// (`XDG_DATA_HOME`, `LOCALAPPDATA` or `~/.local/share`).
    pub fn of_user() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(root) = set("TAPER_DATA") {
            return Ok(Self::at(root));
        }
        let data = set("XDG_DATA_HOME").or_else(|| set("LOCALAPPDATA")).map(PathBuf::from);
        let data = data.or_else(|| Some(std::env::home_dir()?.join(".local/share")));
        match data {
            Some(data) => Ok(Self::at(data.join("taper").join("data"))),
            None => Err(taper_core::Error::argument(
                "DataStore::of_user",
                "TAPER_DATA",
                "the folder of the data sets, since this user has no home",
                "nothing",
            )
            .into()),
        }
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is known of the data set called `name`, if it is here.
    pub fn record(&self, name: &DataName) -> Result<Option<Record>> {
        let path = self.folder(name).join(RECORD);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read the record of a data set", &path)(error)),
        };
        let unreadable = |reason: String| Error::File {
            path: path.clone(),
            reason: format!("{reason}; remove it and download again"),
        };
        let record: Record =
            toml::from_str(&text).map_err(|error| unreadable(error.message().to_owned()))?;
        match record.name == *name {
            true => Ok(Some(record)),
            false => Err(unreadable(format!("it is the record of {}", record.name))),
        }
    }

    /// What is known of every data set that is here, sorted by name.
    pub fn records(&self) -> Result<Vec<Record>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list the data sets", &self.root)(error)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut names: Vec<DataName> = names.collect();
        names.sort();
        names.iter().filter_map(|name| self.record(name).transpose()).collect()
    }

    /// Reads a part of a data set and holds it against its record and its card.
    ///
    /// # Errors
    /// [`Error::Absent`] where it is not here, which says how to get it; [`Error::Content`] where the file is not what was
    /// kept.
    pub fn load(&self, name: &DataName, part: &str) -> Result<ImageDataset> {
        let card = name.card()?;
        let of_card = card.part(part)?;
        if card.hub.is_none() {
            return Ok(digits()?);
        }
        let record = self.require(name)?;
        let known = record.part(part).ok_or_else(|| self.absent(name))?;
        let path = self.part_file(name, part);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.absent(name),
            _ => Error::io("read images", &path)(error),
        })?;
        let changed = |reason: String| Error::Content {
            name: name.to_string(),
            part: part.to_owned(),
            reason: format!(
                "{} is not what was kept from {}: {reason}; {}",
                path.display(),
                record.source,
                remedy(name)
            ),
        };
        let dataset = read_images(file).map_err(|error| changed(error.to_string()))?;
        let digest = dataset.content_digest();
        // What was kept has been held against the card; the card may have learned the digest since.
        let of_card = of_card.content_digest.as_ref().filter(|_| name.variant().is_none());
        for expected in [Some(&known.content_digest), of_card].into_iter().flatten() {
            if digest != *expected {
                return Err(changed(format!("its content digest is {digest}, not {expected}")));
            }
        }
        Ok(dataset)
    }

    /// What is known of the data set called `name`, or an error that says how to get it.
    pub fn require(&self, name: &DataName) -> Result<Record> {
        self.record(name)?.ok_or_else(|| self.absent(name))
    }

    /// Whether all parts of a data set are here and whole: each is read.
    pub fn state(&self, name: &DataName) -> Result<State> {
        for part in &name.card()?.parts {
            match self.load(name, &part.name) {
                Ok(_) => {}
                Err(Error::Absent { .. }) => return Ok(State::Absent),
                Err(Error::Content { reason, .. }) => return Ok(State::Damaged { reason }),
                Err(error) => return Err(error),
            }
        }
        Ok(State::Whole)
    }

    /// Holds the parts of a data set against its card and against what was seen before, and keeps them.
    ///
    /// `source` says where they came from, for people.
    ///
    /// # Errors
    /// [`Error::Content`] where a part is not what it is called; nothing is kept then.
    pub fn keep(&self, name: &DataName, parts: &[ReadPart], source: &str) -> Result<Record> {
        let card = name.card()?;
        let before = self.record(name)?;
        let mut kept = Vec::new();
        for part in &card.parts {
            let content = |reason: String| Error::Content {
                name: name.to_string(),
                part: part.name.clone(),
                reason,
            };
            let read = parts.iter().find(|read| read.name == part.name);
            let read = read.ok_or_else(|| content("it is missing".to_owned()))?;
            let content_digest = read.images.content_digest();
            let proof = prove(&card, name, read, &content_digest).map_err(content)?;
            // What a card knows now is more than what was seen here before.
            let unproven = matches!(proof, Proof::FirstSeen | Proof::Variant);
            let seen = before.as_ref().and_then(|record| record.part(&part.name));
            if let Some(seen) =
                seen.filter(|seen| unproven && seen.content_digest != content_digest)
            {
                return Err(content(format!(
                    "its content digest is {content_digest}, and {} was seen here before; to keep it too, ask for it \
                     by another name, or remove {} to forget the other",
                    seen.content_digest,
                    self.folder(name).display()
                )));
            }
            let (name, images) = (part.name.clone(), read.images.len());
            kept.push((&read.images, PartRecord { name, images, content_digest, proof }));
        }
        for (images, part) in &kept {
            write_whole(&self.part_file(name, &part.name), |out| write_images(images, out))?;
        }
        let record = Record {
            name: name.clone(),
            source: source.to_owned(),
            parts: kept.into_iter().map(|(_, part)| part).collect(),
        };
        let path = self.folder(name).join(RECORD);
        let text = toml::to_string(&record)
            .map_err(|error| Error::File { path: path.clone(), reason: error.to_string() })?;
        write_whole(&path, |out| out.write_all(text.as_bytes()))?;
        Ok(record)
    }

    /// Takes the lock of a data set; `wait` is called where another process has it, whose end is then waited for.
    pub fn lock(&self, name: &DataName, wait: impl FnOnce()) -> Result<DataLock> {
        let lock = disk::lock(&self.root.join(format!("{name}.lock")), wait)?;
        // Nobody else writes there now.
        disk::sweep(&self.folder(name));
        Ok(DataLock { _file: lock })
    }

    fn folder(&self, name: &DataName) -> PathBuf {
        self.root.join(name.to_string())
    }

    fn part_file(&self, name: &DataName, part: &str) -> PathBuf {
        self.folder(name).join(format!("{part}.images"))
    }

    fn absent(&self, name: &DataName) -> Error {
        let folder = self.folder(name);
        Error::Absent { name: name.to_string(), folder, remedy: remedy(name) }
    }
}

/// What shows that a part is what it is called, or why it is not.
fn prove(
    card: &Card,
    name: &DataName,
    read: &ReadPart,
    digest: &str,
) -> std::result::Result<Proof, String> {
    let data = &read.images;
    if let Some(known) = known_elsewhere(digest, name, &read.name) {
        return Err(format!(
            "these are the images of {known}. Nothing was kept; ask for them by that name"
        ));
    }
    if name.variant().is_some() {
        let (shape, classes) = (data.shape(), data.classes());
        return match shape == card.shape && classes as usize == card.classes.len() {
            true => Ok(Proof::Variant),
            false => Err(format!(
                "its images are {shape:?} of {classes} classes, not {:?} of {}",
                card.shape,
                card.classes.len()
            )),
        };
    }
    let refuse = |reason: &dyn std::fmt::Display| {
        let card = &card.name;
        Err(format!(
            "{reason}. Nothing was kept; to keep it as something else than {card}, ask for {card}-NAME, with \
             a NAME of your choice and the same options, such as {card}-jpeg where the images were compressed with losses"
        ))
    };
    match card.check(&read.name, data) {
        Err(taper_core::Error::Argument { argument, expected, received, .. }) => {
            return refuse(&format!("the {argument} is {received}, and the card has {expected}"));
        }
        Err(error) => return refuse(&error),
        Ok(()) => {}
    }
    let part = card.part(&read.name).map_err(|error| error.to_string())?;
    if part.content_digest.is_some() {
        return Ok(Proof::Digest);
    }
    match (is_original(card, part, data), read.files) {
        (Some(true), _) => Ok(Proof::Originals),
        (_, Files::Known) => Ok(Proof::Files),
        (Some(false), _) => refuse(&"these are not the pixels and labels that its makers gave out"),
        (None, Files::Others) => {
            refuse(&"nothing shows that it is: its files are not those of the card")
        }
        (None, Files::Unknown) => Ok(Proof::FirstSeen),
    }
}

/// The data set, another than the one that is asked for, whose part has this digest.
fn known_elsewhere(digest: &str, name: &DataName, part: &str) -> Option<String> {
    let cards = crate::cards().ok()?;
    let parts = cards.iter().flat_map(|card| card.parts.iter().map(move |part| (card, part)));
    let mut same = parts.filter(|(_, known)| known.content_digest.as_deref() == Some(digest));
    let (card, known) = same.next()?;
    let itself = card.name == name.to_string() && known.name == part;
    (!itself).then(|| format!("{}/{}", card.name, known.name))
}

fn remedy(name: &DataName) -> String {
    format!(
        "`cargo xtask download {name}` fetches it (with Taper installed, `taper download {name}`)"
    )
}
