//! The binary files of CIFAR-10 and CIFAR-100.

use std::io::Read;

use taper_core::Result;

use super::{MOST, unpacked, wrong};
use crate::ImageDataset;

const NAME: &str = "read_cifar";

/// (channels, height, width) of an image.
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// Which labels come before an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cifar {
    /// CIFAR-10: one of 10 classes.
    Ten,
    /// CIFAR-100: one of 20 superclasses, which is left out, and one of 100 classes.
    Hundred,
}

/// Reads images and labels from the binary files of CIFAR, plain or in gzip, one after the other.
///
/// A record is its labels, one byte each, and the red, green and blue plane of the image, row by row: upright, so that
/// the shape is (3, height, width).
///
/// # Errors
/// A file that is empty or ends within a record, a label out of range; each names the file by its number from 0.
pub fn read_cifar<R: Read>(
    kind: Cifar,
    files: impl IntoIterator<Item = R>,
) -> Result<ImageDataset> {
    let (leading, classes) = match kind {
        Cifar::Ten => (1, 10),
        Cifar::Hundred => (2, 100),
    };
    let record = leading + PIXELS;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for (file, reader) in files.into_iter().enumerate() {
        let what = format!("file {file}");
        let mut bytes = Vec::new();
        let read = unpacked(reader)?.take(MOST + 1).read_to_end(&mut bytes);
        read.map_err(|error| wrong(NAME, &what, "readable", error))?;
        if bytes.is_empty() || bytes.len() % record != 0 || bytes.len() as u64 > MOST {
            let expected = format!("whole records of {record} bytes, at most {MOST} bytes");
            return Err(wrong(NAME, what, expected, format!("{} bytes", bytes.len())));
        }
        for record in bytes.chunks_exact(record) {
            labels.push(u32::from(record[leading - 1]));
            images.extend_from_slice(&record[leading..]);
        }
    }
    ImageDataset::new(images, SHAPE, u8::MAX, labels, classes)
}
