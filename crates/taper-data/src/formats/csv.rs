//! Tables of numbers.

use std::io::Read;

use taper_core::{Error, Result};

use super::{MOST, unpacked, wrong};
use crate::ImageDataset;
use crate::dataset::pixels_of;

const NAME: &str = "read_csv";

/// Reads an image a line, plain or in gzip: its pixels, whole numbers from 0 to `max_value`, then its label, below
/// `classes`, with commas between them. There is no line of names.
///
/// # Errors
/// Each value that is missing, too many, no number or out of range, by its line and column; an empty file, and one of
/// more than 4 GiB.
pub fn read_csv(
    csv: impl Read,
    shape: [usize; 3],
    max_value: u8,
    classes: u32,
) -> Result<ImageDataset> {
    let Some(pixels) = pixels_of(shape) else {
        return Err(wrong(NAME, "shape", "three dimensions of at least 1", format!("{shape:?}")));
    };
    let mut images = Vec::new();
    let mut labels = Vec::new();
    // Flexible, so that a short or long line is reported below, with its column.
    let mut builder = csv::ReaderBuilder::new();
    builder.has_headers(false).flexible(true);
    let mut reader = builder.from_reader(unpacked(csv)?.take(MOST + 1));
    let mut record = csv::ByteRecord::new();
    loop {
        let line = reader.position().line();
        let more =
            reader.read_byte_record(&mut record).map_err(|error| at(line, 1, "readable", error))?;
        if reader.position().byte() > MOST {
            return Err(wrong(NAME, "csv", format!("at most {MOST} bytes"), "more"));
        }
        if !more {
            break;
        }
        let line = record.position().map_or(line, csv::Position::line);
        if record.len() > pixels + 1 {
            return Err(at(line, pixels + 2, "absent", "a value"));
        }
        for column in 0..pixels {
            let value = number(&record, line, column, u32::from(max_value))?;
            images.push(value as u8);
        }
        labels.push(number(&record, line, pixels, classes.saturating_sub(1))?);
    }
    ImageDataset::new(images, shape, max_value, labels, classes)
}

/// The whole number from 0 to `max` in `column`, counted from 0.
fn number(record: &csv::ByteRecord, line: u64, column: usize, max: u32) -> Result<u32> {
    let text = record.get(column).map(String::from_utf8_lossy);
    text.as_deref().and_then(|text| text.parse().ok()).filter(|value| *value <= max).ok_or_else(
        || {
            let received = text.map_or("nothing".to_owned(), |text| format!("{text:?}"));
            at(line, column + 1, &format!("a whole number from 0 to {max}"), received)
        },
    )
}

fn at(line: u64, column: usize, expected: &str, received: impl std::fmt::Display) -> Error {
    wrong(NAME, format!("line {line}, column {column}"), expected, received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_hand_numbers() -> Result<()> {
        let dataset = read_csv(&b"0,16,9\n3,4,0\n"[..], [1, 1, 2], 16, 10)?;
        assert_eq!(dataset.images(), [0, 16, 3, 4]);
        assert_eq!(dataset.labels(), [9, 0]);
        Ok(())
    }

    #[test]
    fn names_the_line_and_column_of_a_wrong_value() {
        for (csv, expected) in [
            (
                &b"0,1,2\n0,17,3\n"[..],
                "read_csv: line 2, column 2 should be a whole number from 0 to 16, got \"17\"",
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
            let message = read_csv(csv, [1, 1, 2], 16, 10).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
