//! The digits that are compiled in.

use std::io::Read;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use taper_core::{Error, Result};

use crate::{Card, ImageDataset};

// Outside this package, so that the repository has the data once. To publish the crate, copy
// `datasets/digits` into the package (or link to it: `cargo package` follows links) and shorten the
// two paths.
const FILE: &[u8] = include_bytes!("../../../datasets/digits/digits.csv.gz");
const CARD: &str = include_str!("../../../datasets/digits/digits.toml");

/// The 1,797 handwritten digits of 8x8 pixels that are compiled in: see [`digits_card`] for where they
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
    let card = digits_card()?;
    let digits = decode(GzDecoder::new(FILE), &card)?;
    card.check("all", &digits)?;
    Ok(DIGITS.get_or_init(|| digits).clone())
}

/// The card of [`digits`]: origin, licence, citation, digests.
pub fn digits_card() -> Result<Card> {
    Card::parse(CARD)
}

/// An image a line: its pixels, then its label, with commas between them.
fn decode(csv: impl Read, card: &Card) -> Result<ImageDataset> {
    let pixels: usize = card.shape.iter().product();
    let classes = card.classes.len() as u32;
    let mut images = Vec::new();
    let mut labels = Vec::new();
    // Flexible, so that a short or long line is reported below, with its column.
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(csv);
    let mut record = csv::ByteRecord::new();
    loop {
        let line = reader.position().line();
        let more = reader
            .read_byte_record(&mut record)
            .map_err(|error| wrong(line, 1, "readable", error))?;
        if !more {
            break;
        }
        let line = record.position().map_or(line, csv::Position::line);
        if record.len() > pixels + 1 {
            return Err(wrong(line, pixels + 2, "absent", "a value"));
        }
        for column in 0..pixels {
            let value = number(&record, line, column, u32::from(card.max_value))?;
            images.push(value as u8);
        }
        labels.push(number(&record, line, pixels, classes.saturating_sub(1))?);
    }
    ImageDataset::new(images, card.shape, card.max_value, labels, classes)
}

/// The whole number from 0 to `max` in `column`, counted from 0.
fn number(record: &csv::ByteRecord, line: u64, column: usize, max: u32) -> Result<u32> {
    let text = record.get(column).map(String::from_utf8_lossy);
    text.as_deref().and_then(|text| text.parse().ok()).filter(|value| *value <= max).ok_or_else(
        || {
            let received = text.map_or("nothing".to_owned(), |text| format!("{text:?}"));
            wrong(line, column + 1, &format!("a whole number from 0 to {max}"), received)
        },
    )
}

fn wrong(line: u64, column: usize, expected: &str, received: impl std::fmt::Display) -> Error {
    let argument = format!("line {line}, column {column}");
    Error::argument("digits", argument, expected, received)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::dataset::hex;

    /// Images of 1x2 pixels up to 16, in 10 classes.
    fn small() -> Card {
        Card { shape: [1, 1, 2], ..digits_card().unwrap() }
    }

    #[test]
    fn decodes_hand_numbers() -> Result<()> {
        let dataset = decode(&b"0,16,9\n3,4,0\n"[..], &small())?;
        assert_eq!(dataset.images(), [0, 16, 3, 4]);
        assert_eq!(dataset.labels(), [9, 0]);
        Ok(())
    }

    #[test]
    fn names_the_line_and_column_of_a_wrong_value() {
        for (csv, expected) in [
            (
                &b"0,1,2\n0,17,3\n"[..],
                "digits: line 2, column 2 should be a whole number from 0 to 16, got \"17\"",
            ),
            (
                b"0,1,2\n0,1,10\n",
                "line 2, column 3 should be a whole number from 0 to 9, got \"10\"",
            ),
            (b"-1,1,2\n", "line 1, column 1 should be a whole number from 0 to 16, got \"-1\""),
            (b"1.5,1,2\n", "got \"1.5\""),
            (b"\xff,1,2\n", "line 1, column 1 should be a whole number"),
            (b"0,1,2\n0,1\n", "line 2, column 3 should be a whole number from 0 to 9, got nothing"),
            (b"0,1,2,3\n", "line 1, column 4 should be absent, got a value"),
            (b"", "labels should be at least one image, got none"),
        ] {
            let message = decode(csv, &small()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_truncated_file_is_an_error_at_the_line_it_breaks_off() {
        let half = GzDecoder::new(&FILE[..FILE.len() / 2]);
        let message = decode(half, &digits_card().unwrap()).unwrap_err().to_string();
        assert!(message.starts_with("digits: line ") && message.contains("readable"), "{message}");
    }

    #[test]
    fn the_file_is_the_one_on_the_card() -> Result<()> {
        let card = digits_card()?;
        let [file] = &card.files[..] else { panic!("one file, not {}", card.files.len()) };
        let mut csv = Vec::new();
        GzDecoder::new(FILE).read_to_end(&mut csv).unwrap();
        assert_eq!(file.bytes, FILE.len() as u64);
        assert_eq!(file.sha256, hex(&Sha256::digest(FILE)));
        let unpacked = file.unpacked.as_ref().unwrap();
        assert_eq!(unpacked.bytes, csv.len() as u64);
        assert_eq!(unpacked.sha256, hex(&Sha256::digest(&csv)));
        Ok(())
    }
}
