//! The cards of the data sets.

use serde::Deserialize;
use taper_core::{Error, Result};

use crate::ImageDataset;

/// The cards that are compiled in, the embedded digits first.
const CARDS: [&str; 6] = [
    include_str!("../../../datasets/digits/digits.toml"),
    include_str!("../../../datasets/mnist/mnist.toml"),
    include_str!("../../../datasets/fashion-mnist/fashion-mnist.toml"),
    include_str!("../../../datasets/kmnist/kmnist.toml"),
    include_str!("../../../datasets/cifar10/cifar10.toml"),
    include_str!("../../../datasets/cifar100/cifar100.toml"),
];

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
    /// The version or commit that the files are taken from.
    pub revision: String,
    /// What differs from the original, if anything does; attribution licences ask for it.
    pub changes: Option<String>,
    /// (channels, height, width) of an image.
    pub shape: [usize; 3],
    /// The greatest value a pixel can have.
    pub max_value: u8,
    /// The name of each class, in the order of the labels.
    pub classes: Vec<String>,
    /// Where the hub has it; nothing for a data set that is compiled in.
    pub hub: Option<HubPlace>,
    /// The form of the files that its makers gave out.
    pub original: Option<Original>,
    /// The files that hold it.
    pub files: Vec<File>,
    /// The parts that its makers divided it into.
    pub parts: Vec<Part>,
}

/// Where the Hugging Face hub has a data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubPlace {
    /// The repository, as `owner/name`.
    pub repository: String,
    /// The column of images.
    pub image: String,
    /// The column of labels.
    pub label: String,
}

/// A form of files in which makers of data sets give them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Original {
    /// A pair of IDX files a part: see [`read_idx`](crate::formats::read_idx).
    Idx,
    /// The binary files of CIFAR-10: see [`read_cifar`](crate::formats::read_cifar).
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// The binary files of CIFAR-100.
    #[serde(rename = "cifar-100")]
    Cifar100,
}

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, with its path in the hub's repository.
    pub name: String,
    /// The part that it belongs to, where there is more than one.
    pub part: Option<String>,
    /// Its size, where it is known before it is fetched.
    pub bytes: Option<u64>,
    /// Its SHA-256, in hex, where it is known before it is fetched.
    pub sha256: Option<String>,
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
    /// Its [`ImageDataset::content_digest`], where it is known.
    pub content_digest: Option<String>,
    /// The MD5 sums, in hex, of the [original](Original) files, uncompressed: of images and labels for IDX, of each
    /// batch, in any order, for CIFAR-10. They prove a content whose digest is not known yet.
    #[serde(default)]
    pub original_md5: Vec<String>,
}

/// The card called `name`.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let mnist = taper_data::card("mnist")?;
/// assert_eq!((mnist.shape, mnist.part("train")?.images), ([1, 28, 28], 60_000));
/// # Ok(())
/// # }
/// ```
pub fn card(name: &str) -> Result<Card> {
    let cards = cards()?;
    let names: Vec<_> = cards.iter().map(|card| card.name.clone()).collect();
    cards.into_iter().find(|card| card.name == name).ok_or_else(|| {
        Error::argument("card", "name", format!("one of {}", names.join(", ")), format!("`{name}`"))
    })
}

/// All cards, the embedded digits first.
pub fn cards() -> Result<Vec<Card>> {
    CARDS.iter().map(|card| Card::parse(card)).collect()
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

    /// Holds the decoded `dataset` against what the card says of the part called `name`; its content only where the
    /// card knows the digest.
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
        // Before they are counted: a file can promise billions of classes.
        if dataset.classes() as usize != self.classes.len() {
            let received = dataset.classes().to_string();
            return differs("number of classes", self.classes.len().to_string(), received);
        }
        let counts = dataset.class_counts();
        if counts != part.per_class {
            let expected = format!("{:?}", part.per_class);
            return differs("images per class", expected, format!("{counts:?}"));
        }
        let digest = dataset.content_digest();
        if let Some(expected) = part.content_digest.as_ref().filter(|known| **known != digest) {
            return differs("content digest", expected.clone(), digest);
        }
        Ok(())
    }
}
