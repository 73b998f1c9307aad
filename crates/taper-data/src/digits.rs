//! The digits that are compiled in.

use std::sync::OnceLock;

use taper_core::Result;

use crate::formats::read_csv;
use crate::{Card, ImageDataset, card};

// Outside this package, so that the repository has the data once. To publish the crate, copy
// `datasets` into the package (or link to it: `cargo package` follows links) and shorten the paths, here and
// in card.rs.
const FILE: &[u8] = include_bytes!("../../../datasets/digits/digits.csv.gz");

/// The 1,797 handwritten digits of 8x8 pixels that are compiled in: [`card`]`("digits")` says where they
/// come from and how to cite them.
///
/// Decoded at the first call, every value checked, and held against the card.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let digits = taper_data::digits()?;
/// assert_eq!((digits.len(), digits.shape(), digits.max_value()), (1797, [1, 8, 8], 16));
/// assert_eq!(digits.labels()[..4], [0, 1, 2, 3]);
/// # Ok(())
/// # }
/// ```
pub fn digits() -> Result<ImageDataset> {
    static DIGITS: OnceLock<ImageDataset> = OnceLock::new();
    if let Some(digits) = DIGITS.get() {
        return Ok(digits.clone());
    }
    let card = card("digits")?;
    let digits = decode(FILE, &card)?;
    card.check("all", &digits)?;
    Ok(DIGITS.get_or_init(|| digits).clone())
}

fn decode(file: &[u8], card: &Card) -> Result<ImageDataset> {
    read_csv(file, card.shape, card.max_value, card.classes.len() as u32)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::disk::hex;

    #[test]
    fn a_truncated_file_is_an_error_at_the_line_it_breaks_off() {
        let half = &FILE[..FILE.len() / 2];
        let message = decode(half, &card("digits").unwrap()).unwrap_err().to_string();
        assert!(
            message.starts_with("read_csv: line ") && message.contains("readable"),
            "{message}"
        );
    }

    #[test]
    fn the_file_is_the_one_on_the_card() -> Result<()> {
        let card = card("digits")?;
        let [file] = &card.files[..] else { panic!("one file, not {}", card.files.len()) };
        let mut csv = Vec::new();
        GzDecoder::new(FILE).read_to_end(&mut csv).unwrap();
        assert_eq!(file.bytes, Some(FILE.len() as u64));
        assert_eq!(file.sha256, Some(hex(&Sha256::digest(FILE))));
        let unpacked = file.unpacked.as_ref().unwrap();
        assert_eq!(unpacked.bytes, csv.len() as u64);
        assert_eq!(unpacked.sha256, hex(&Sha256::digest(&csv)));
        Ok(())
    }
}
