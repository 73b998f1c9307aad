//! The IDX files of MNIST and its kin.

use std::io::Read;

use taper_core::Result;

use super::{end, exactly, unpacked, wrong};
use crate::ImageDataset;

const NAME: &str = "read_idx";

/// Reads images and labels from a pair of IDX files, plain or in gzip.
///
/// An IDX file begins with the bytes 0 and 0, the type of its elements (8 for u8) and its number of dimensions (3 for
/// images, 1 for labels); then the dimensions follow as big-endian u32, then the elements. Each label is below
/// `classes`.
///
/// # Errors
/// Another type or number of dimensions, a dimension of 0, more or fewer bytes than the header says, unequal numbers of
/// images and labels, a label out of range; each names the file, and what it has instead.
pub fn read_idx(images: impl Read, labels: impl Read, classes: u32) -> Result<ImageDataset> {
    let (shape, pixels) = elements::<3>("the file of images", images)?;
    let ([count], labels) = elements::<1>("the file of labels", labels)?;
    let [images, height, width] = shape;
    if images != count {
        return Err(wrong(
            NAME,
            "the file of labels",
            format!("{images} labels, one an image"),
            count,
        ));
    }
    let labels = labels.into_iter().map(u32::from).collect();
    ImageDataset::new(pixels, [1, height as usize, width as usize], u8::MAX, labels, classes)
}

/// The dimensions and elements of a file.
fn elements<const N: usize>(what: &str, reader: impl Read) -> Result<([u32; N], Vec<u8>)> {
    let mut reader = unpacked(reader)?;
    let (found, magic) = (exactly(NAME, what, &mut reader, 4)?, [0, 0, 8, N as u8]);
    if found != magic {
        let expected = format!("to begin with {magic:?}, bytes of {N} dimensions");
        return Err(wrong(NAME, what, expected, format!("{found:?}")));
    }
    let sizes = exactly(NAME, what, &mut reader, 4 * N as u64)?;
    let mut shape = [0; N];
    for (size, bytes) in shape.iter_mut().zip(sizes.chunks_exact(4)) {
        *size = bytes.iter().fold(0, |size, byte| size << 8 | u32::from(*byte));
    }
    let length = shape.iter().try_fold(1u64, |length, size| length.checked_mul(u64::from(*size)));
    let Some(length) = length.filter(|length| *length > 0) else {
        return Err(wrong(
            NAME,
            what,
            "dimensions of at least 1 that fit memory",
            format!("{shape:?}"),
        ));
    };
    let elements = exactly(NAME, what, &mut reader, length)?;
    end(NAME, what, &mut reader)?;
    Ok((shape, elements))
}
