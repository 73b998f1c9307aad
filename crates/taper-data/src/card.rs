//! The card of a data set.

use serde::Deserialize;
use taper_core::{Error, Result};

use crate::ImageDataset;

/// What a data set is, whose it is, and the digests that hold it to this: `datasets/<name>/<name>.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The name by which specs and commands call it.
    pub name: String,
    /// The name by which people call it.
    pub title: String,
    /// Who made it, and of what.
    pub origin: String,
    /// How to cite it.
    pub citation: String,
    /// Its licence, by the SPDX name or as its authors wrote it.
    pub licence: String,
    /// Where the licence can be read.
    pub licence_url: String,
    /// Where the data set has its home.
    pub url: String,
    /// The version or commit that the files were taken from.
    pub revision: String,
    /// What differs from the original, if anything does; attribution licences ask for it.
    pub changes: Option<String>,
    /// (channels, height, width) of an image.
    pub shape: [usize; 3],
    /// The greatest value a pixel can have.
    pub max_value: u8,
    /// The name of each class, in the order of the labels.
    pub classes: Vec<String>,
    /// The files that hold it.
    pub files: Vec<File>,
    /// The parts that its makers divided it into.
    pub parts: Vec<Part>,
}

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// What a compressed file unpacks to.
    pub unpacked: Option<Unpacked>,
}

/// The content of a compressed file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpacked {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// A part of a data set that its makers set apart, such as `train`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// How many images it has.
    pub images: usize,
    /// How many of them each class has.
    pub per_class: Vec<usize>,
    /// Its [`ImageDataset::content_digest`].
    pub content_digest: String,
}

impl Card {
    /// Reads a card.
    pub fn parse(toml: &str) -> Result<Self> {
        toml::from_str(toml).map_err(|error: toml::de::Error| {
            Error::argument("Card::parse", "toml", "the card of a data set", error)
        })
    }

    /// The part called `name`.
    pub fn part(&self, name: &str) -> Result<&Part> {
        let part = self.parts.iter().find(|part| part.name == name);
        part.ok_or_else(|| {
            let names: Vec<_> = self.parts.iter().map(|part| &part.name).collect();
            Error::argument("Card::part", "name", format!("one of {names:?}"), name)
        })
    }

    /// Holds the decoded `dataset` against what the card says of the part called `name`.
    pub fn check(&self, name: &str, dataset: &ImageDataset) -> Result<()> {
        let part = self.part(name)?;
        let differs = |what: &str, expected: String, received: String| {
            let argument = format!("{what} of {}/{name}", self.name);
            Err(Error::argument("Card::check", argument, expected, received))
        };
        // What a person can act on comes before the digest, which only says that something differs.
        if dataset.shape() != self.shape {
            let received = format!("{:?}", dataset.shape());
            return differs("shape", format!("{:?}", self.shape), received);
        }
        if dataset.len() != part.images {
            let received = dataset.len().to_string();
            return differs("number of images", part.images.to_string(), received);
        }
        let counts = dataset.class_counts();
        if counts != part.per_class {
            let expected = format!("{:?}", part.per_class);
            return differs("images per class", expected, format!("{counts:?}"));
        }
        let digest = dataset.content_digest();
        if digest != part.content_digest {
            return differs("content digest", part.content_digest.clone(), digest);
        }
        Ok(())
    }
}
