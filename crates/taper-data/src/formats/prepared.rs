//! Images ready for use: the form in which a verified data set is kept.

use std::fs::File;
use std::io::{self, Read, Write};

use taper_core::Result;

use super::{MOST, wrong};
use crate::ImageDataset;
use crate::dataset::pixels_of;

const NAME: &str = "read_images";
const MAGIC: &[u8] = b"taper image dataset 1\n";
const HEADER: usize = MAGIC.len() + 6 * 8;

/// Writes a data set so that the SHA-256 of the file is its [`ImageDataset::content_digest`].
///
/// The bytes are `taper image dataset 1` and a line feed; the number of images, channels, height, width, the greatest
/// value and the number of classes, each as a little-endian u64; every pixel in order; every label in order as a
/// little-endian u32.
pub fn write_images(dataset: &ImageDataset, writer: &mut impl Write) -> io::Result<()> {
    let [channels, height, width] = dataset.shape().map(|dim| dim as u64);
    let (max_value, classes) = (u64::from(dataset.max_value()), u64::from(dataset.classes()));
    let mut header = MAGIC.to_vec();
    for number in [dataset.len() as u64, channels, height, width, max_value, classes] {
        header.extend(number.to_le_bytes());
    }
    writer.write_all(&header)?;
    writer.write_all(dataset.images())?;
    let labels: Vec<u8> = dataset.labels().iter().flat_map(|label| label.to_le_bytes()).collect();
    writer.write_all(&labels)
}

/// Reads what [`write_images`] wrote.
///
/// # Errors
/// A file that begins otherwise, or whose size is not what its header says, which is told before memory is taken; a
/// pixel above the greatest value, a label that is no class.
pub fn read_images(mut file: File) -> Result<ImageDataset> {
    let what = "the file";
    let unreadable = |error: io::Error| wrong(NAME, what, "readable", error);
    let size = file.metadata().map_err(unreadable)?.len();
    let mut header = [0; HEADER];
    if size < HEADER as u64 {
        return Err(wrong(NAME, what, format!("at least {HEADER} bytes"), size));
    }
    file.read_exact(&mut header).map_err(unreadable)?;
    let (magic, numbers) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(wrong(NAME, what, "to begin with `taper image dataset 1`", "other bytes"));
    }
    let mut fields = [0; 6];
    for (field, bytes) in fields.iter_mut().zip(numbers.chunks_exact(8)) {
        *field = bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    }
    let [images, channels, height, width, max_value, classes] = fields;
    let expected = || -> Option<(u64, [usize; 3], u8, u32)> {
        let shape = [channels, height, width].map(usize::try_from);
        let shape = [shape[0].ok()?, shape[1].ok()?, shape[2].ok()?];
        let pixels = images.checked_mul(pixels_of(shape)? as u64)?;
        let total = pixels.checked_add(images.checked_mul(4)?)?.checked_add(HEADER as u64)?;
        let known = total == size && total <= MOST;
        known.then_some((pixels, shape, max_value.try_into().ok()?, classes.try_into().ok()?))
    };
    let Some((pixels, shape, max_value, classes)) = expected() else {
        let received = format!("{size} bytes for {images} images of {channels}x{height}x{width}");
        return Err(wrong(NAME, what, "of the size that its header says", received));
    };
    // The file is as long as these are together.
    let mut read = |length: u64| -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length as usize);
        (&mut file).take(length).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    };
    let (pixels, labels) = (read(pixels)?, read(4 * images)?);
    let labels = labels
        .chunks_exact(4)
        .map(|bytes| bytes.iter().rev().fold(0, |label, byte| label << 8 | u32::from(*byte)));
    ImageDataset::new(pixels, shape, max_value, labels.collect(), classes)
}
