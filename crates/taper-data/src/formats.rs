//! Outside bytes to labelled images.
//!
//! Every reader takes a file that may be cut off, too long, or made to harm: what a header promises is checked
//! before it is believed, and memory grows with the bytes that are there, not with the promise.

mod cifar;
mod csv;
#[cfg(feature = "images")]
mod folder;
mod idx;
#[cfg(feature = "images")]
mod images;
#[cfg(feature = "images")]
mod parquet;
mod prepared;

use std::io::{BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use taper_core::{Error, Result};

pub use cifar::{Cifar, read_cifar};
pub use csv::read_csv;
#[cfg(feature = "images")]
pub use folder::{image_folder_classes, read_image_folder};
pub use idx::read_idx;
#[cfg(feature = "images")]
pub use parquet::read_parquet;
pub use prepared::{read_images, write_images};

/// The most bytes that the images of one file may unpack to: 4 GiB, ten times the largest data set with a card.
const MOST: u64 = 1 << 32;

/// Bytes that are read at once where the length is a promise.
const STEP: u64 = 1 << 20;

/// `reader`, unpacked where its first bytes are those of gzip.
fn unpacked<'a>(reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::new(reader);
    let start =
        reader.fill_buf().map_err(|error| wrong("unpacked", "the file", "readable", error))?;
    Ok(match start.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(MultiGzDecoder::new(reader)),
        false => Box::new(reader),
    })
}

/// Reads exactly `length` bytes, which `what` promises.
fn exactly(
    operation: &'static str,
    what: &str,
    reader: &mut impl Read,
    length: u64,
) -> Result<Vec<u8>> {
    if length > MOST {
        return Err(wrong(operation, what, format!("at most {MOST} bytes"), length));
    }
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let step = (length - bytes.len() as u64).min(STEP);
        let read = reader
            .take(step)
            .read_to_end(&mut bytes)
            .map_err(|error| wrong(operation, what, "readable", error))?;
        if read == 0 {
            let received = format!("{}, where the file ends", bytes.len());
            return Err(wrong(operation, what, format!("{length} bytes"), received));
        }
    }
    Ok(bytes)
}

/// Refuses bytes after the last.
fn end(operation: &'static str, what: &str, reader: &mut impl Read) -> Result<()> {
    let mut rest = Vec::new();
    match reader.take(1).read_to_end(&mut rest) {
        Ok(0) => Ok(()),
        Ok(_) => Err(wrong(operation, what, "nothing after the last image or label", "more bytes")),
        Err(error) => Err(wrong(operation, what, "readable", error)),
    }
}

fn wrong(
    operation: &'static str,
    argument: impl Into<String>,
    expected: impl Into<String>,
    received: impl std::fmt::Display,
) -> Error {
    Error::argument(operation, argument.into(), expected.into(), received)
}
