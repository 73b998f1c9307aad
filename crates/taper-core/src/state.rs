//! State to bytes and back: one trait for everything that a run must remember.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Something whose whole state can be saved and restored.
///
/// `restore` after `save` must leave an object that goes on exactly as the saved one would have:
/// to the bit. An object restores into one built the same way (same shapes, same names).
pub trait Stateful {
    /// Writes every entry that the future depends on.
    fn save(&self, snapshot: &mut Snapshot) -> Result<()>;
    /// Takes every entry back.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<()>;
}

/// Named tensors and scalars under dotted names, to and from safetensors bytes.
///
/// Tensors keep their names as in a PyTorch state dict; scalars travel as JSON in the file's
/// metadata, under the one key `taper` (the metadata map has no order of its own).
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    tensors: BTreeMap<String, Tensor>,
    scalars: BTreeMap<String, Scalar>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scalar {
    U64(u64),
    /// As its bits: NaN and infinity survive JSON, and nothing is rounded.
    F64(u64),
    Text(String),
}

const METADATA_KEY: &str = "taper";

impl Snapshot {
    /// A snapshot with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Saves `part` with `name.` in front of each of its entries.
    pub fn put(&mut self, name: &str, part: &(impl Stateful + ?Sized)) -> Result<()> {
        let mut inner = Snapshot::new();
        part.save(&mut inner)?;
        let under = |key: String| format!("{name}.{key}");
        self.tensors.extend(inner.tensors.into_iter().map(|(key, tensor)| (under(key), tensor)));
        self.scalars.extend(inner.scalars.into_iter().map(|(key, scalar)| (under(key), scalar)));
        Ok(())
    }

    /// Restores `part` from the entries below `name.`.
    pub fn get(&self, name: &str, part: &mut (impl Stateful + ?Sized)) -> Result<()> {
        let prefix = format!("{name}.");
        let inner = Snapshot {
            tensors: below(&self.tensors, &prefix),
            scalars: below(&self.scalars, &prefix),
        };
        part.restore(&inner).map_err(|error| match error {
            Error::State { name, reason } => Error::State { name: prefix + &name, reason },
            other => other,
        })
    }

    /// Adds a tensor, whose memory the snapshot shares: of a variable that training goes on to change,
    /// hand in a copy.
    pub fn put_tensor(&mut self, name: &str, tensor: &Tensor) {
        self.tensors.insert(name.to_owned(), tensor.detach());
    }

    /// The tensor called `name`.
    pub fn get_tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| missing(name))
    }

    /// All tensors in the order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Adds a whole number.
    pub fn put_u64(&mut self, name: &str, value: u64) {
        self.scalars.insert(name.to_owned(), Scalar::U64(value));
    }

    /// The whole number called `name`.
    pub fn get_u64(&self, name: &str) -> Result<u64> {
        match self.scalars.get(name) {
            Some(Scalar::U64(value)) => Ok(*value),
            Some(other) => Err(wrong_kind(name, "a whole number", other)),
            None => Err(missing(name)),
        }
    }

    /// Adds a real number, kept to the bit.
    pub fn put_f64(&mut self, name: &str, value: f64) {
        self.scalars.insert(name.to_owned(), Scalar::F64(value.to_bits()));
    }

    /// The real number called `name`.
    pub fn get_f64(&self, name: &str) -> Result<f64> {
        match self.scalars.get(name) {
            Some(Scalar::F64(bits)) => Ok(f64::from_bits(*bits)),
            Some(other) => Err(wrong_kind(name, "a real number", other)),
            None => Err(missing(name)),
        }
    }

    /// Adds a text.
    pub fn put_text(&mut self, name: &str, value: &str) {
        self.scalars.insert(name.to_owned(), Scalar::Text(value.to_owned()));
    }

    /// The text called `name`.
    pub fn get_text(&self, name: &str) -> Result<String> {
        match self.scalars.get(name) {
            Some(Scalar::Text(value)) => Ok(value.clone()),
            Some(other) => Err(wrong_kind(name, "a text", other)),
            None => Err(missing(name)),
        }
    }

    /// The bytes of a safetensors file. The same content gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut metadata = HashMap::new();
        if !self.scalars.is_empty() {
            let json = serde_json::to_string(&self.scalars)
                .map_err(|error| Error::state(METADATA_KEY, error.to_string()))?;
            metadata.insert(METADATA_KEY.to_owned(), json);
        }
        let metadata = (!metadata.is_empty()).then_some(metadata);
        Ok(safetensors::serialize(self.tensors.iter(), metadata)?)
    }

    /// Reads what [`Snapshot::to_bytes`] wrote, or any safetensors file (it then has no scalars).
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let scalars = match header.metadata().as_ref().and_then(|map| map.get(METADATA_KEY)) {
            Some(json) => serde_json::from_str(json)
                .map_err(|error| Error::state(METADATA_KEY, error.to_string()))?,
            None => BTreeMap::new(),
        };
        let tensors = candle_core::safetensors::load_buffer(bytes, device)?.into_iter().collect();
        Ok(Self { tensors, scalars })
    }
}

/// An error where a saved tensor has not the shape and dtype of what it replaces.
pub(crate) fn check_form(name: &str, expected: &Tensor, found: &Tensor) -> Result<()> {
    if found.dims() == expected.dims() && found.dtype() == expected.dtype() {
        return Ok(());
    }
    let form = |tensor: &Tensor| format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims());
    Err(Error::state(name, format!("expected {}, found {}", form(expected), form(found))))
}

fn below<T: Clone>(entries: &BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
    entries
        .range(prefix.to_owned()..)
        .map_while(|(name, entry)| Some((name.strip_prefix(prefix)?.to_owned(), entry.clone())))
        .collect()
}

fn missing(name: &str) -> Error {
    Error::state(name, "not in the saved state; it was written by another version or another model")
}

fn wrong_kind(name: &str, expected: &str, found: &Scalar) -> Error {
    Error::state(name, format!("expected {expected}, found {found:?}"))
}
