//! The names of data sets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Card, Error, Result, card, cards};

/// The name of a data set: a card's, or a card's with `-` and the name of a variant of it.
///
/// A variant has another content than the card's data set, such as images that were compressed with losses. It is used
/// where it is named, never in place of the other.
///
/// ```
/// # fn main() -> taper_data::Result<()> {
/// use taper_data::DataName;
///
/// let name: DataName = "cifar10-jpeg".parse()?;
/// assert_eq!((name.card()?.title.as_str(), name.variant()), ("CIFAR-10", Some("jpeg")));
/// let message = "cifar11".parse::<DataName>().unwrap_err().to_string();
/// assert!(message.starts_with("no data set is called `cifar11` (did you mean `cifar10`?)"), "{message}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DataName {
    card: String,
    variant: Option<String>,
}

impl DataName {
    /// The variant called `variant` of a card's data set.
    fn with_variant(&self, variant: &str) -> Result<Self> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let ends = variant.starts_with('-') || variant.ends_with('-');
        if variant.is_empty() || ends || !variant.chars().all(good) {
            let expected = "small letters, digits and `-` between them";
            let received = format!("`{variant}`");
            return Err(taper_core::Error::argument(
                "DataName",
                "the name of a variant",
                expected,
                received,
            )
            .into());
        }
        if self.card()?.hub.is_none() {
            let expected = "that of a data set that is downloaded";
            let received = self.card.clone();
            return Err(taper_core::Error::argument(
                "DataName",
                "the name before a variant's",
                expected,
                received,
            )
            .into());
        }
        Ok(Self { card: self.card.clone(), variant: Some(variant.to_owned()) })
    }

    /// The card of the data set, or of the one that it is a variant of.
    pub fn card(&self) -> Result<Card> {
        Ok(card(&self.card)?)
    }

    /// The name of the variant, if it is one.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }
}

impl FromStr for DataName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let cards: Vec<String> = cards()?.into_iter().map(|card| card.name).collect();
        if cards.iter().any(|card| card == name) {
            return Ok(Self { card: name.to_owned(), variant: None });
        }
        let split = cards
            .iter()
            .filter_map(|card| Some((card, name.strip_prefix(card.as_str())?.strip_prefix('-')?)));
        if let Some((card, variant)) = split.max_by_key(|(card, _)| card.len()) {
            return Self { card: card.clone(), variant: None }.with_variant(variant);
        }
        let near = cards
            .iter()
            .map(|card| (strsim::jaro_winkler(card, &name.to_lowercase()), card))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        Err(Error::Unknown {
            name: name.to_owned(),
            near: near.map(|(_, card)| format!(" (did you mean `{card}`?)")).unwrap_or_default(),
            known: cards.join(", "),
        })
    }
}

impl TryFrom<String> for DataName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<DataName> for String {
    fn from(name: DataName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            None => f.write_str(&self.card),
            Some(variant) => write!(f, "{}-{variant}", self.card),
        }
    }
}
