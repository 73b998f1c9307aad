use std::fs::File;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::Arc;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use taper_core::Result;
use taper_data::ImageDataset;
use taper_data::formats::read_parquet;

pub(crate) const SCHEMA: &str = "message schema {
    optional group image { optional binary bytes; optional binary path (UTF8); }
    optional int64 label;
}";

pub(crate) fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A grey image of 2 rows and 3 columns.
fn grey(first: u8) -> Vec<u8> {
    let image = GrayImage::from_fn(3, 2, |x, y| [first + (3 * y + x) as u8].into());
    encoded(image, ImageFormat::Png)
}

/// A file with these rows, two a row group; `None` is a null.
pub(crate) fn written(schema: &str, rows: &[(Option<Vec<u8>>, Option<i64>)]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    for rows in rows.chunks(2) {
        let mut group = writer.next_row_group().unwrap();
        let images: Vec<_> =
            rows.iter().filter_map(|(image, _)| image.clone()).map(ByteArray::from).collect();
        let levels: Vec<i16> =
            rows.iter().map(|(image, _)| if image.is_some() { 2 } else { 1 }).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let none = vec![1i16; rows.len()];
        column.typed::<ByteArrayType>().write_batch(&[], Some(&none), None).unwrap();
        column.close().unwrap();
        let labels: Vec<i64> = rows.iter().filter_map(|(_, label)| *label).collect();
        let levels: Vec<i16> = rows.iter().map(|(_, label)| i16::from(label.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn read(bytes: &[u8]) -> Result<ImageDataset> {
    read_parquet([file(bytes)], "image", "label", [1, 2, 3], 10)
}

fn error(rows: &[(Option<Vec<u8>>, Option<i64>)]) -> String {
    read(&written(SCHEMA, rows)).unwrap_err().to_string()
}

#[test]
fn rows_come_in_order() -> Result<()> {
    let rows: Vec<_> = (0..5).map(|at| (Some(grey(10 * at)), Some(i64::from(at)))).collect();
    let bytes = written(SCHEMA, &rows);
    let dataset = read_parquet([file(&bytes), file(&bytes)], "image", "label", [1, 2, 3], 10)?;
    assert_eq!(dataset.labels(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    let expected: Vec<u8> =
        (0..10).flat_map(|at| (0..6).map(move |pixel| 10 * (at % 5) + pixel)).collect();
    assert_eq!(dataset.images(), expected);
    Ok(())
}

#[test]
fn colours_are_planes_and_rows_are_rows() -> Result<()> {
    // Red grows along a row, green down a column.
    let image = RgbImage::from_fn(8, 16, |x, y| [x as u8 * 8, y as u8 * 8, 200].into());
    for (format, tolerance) in [(ImageFormat::Png, 0), (ImageFormat::Jpeg, 24)] {
        let bytes = written(SCHEMA, &[(Some(encoded(image.clone(), format)), Some(0))]);
        let dataset = read_parquet([file(&bytes)], "image", "label", [3, 16, 8], 10)?;
        for row in 0..16 {
            for column in 0..8 {
                let at =
                    |plane: usize| i32::from(dataset.images()[(plane * 16 + row) * 8 + column]);
                let expected = [column as i32 * 8, row as i32 * 8, 200];
                for (plane, expected) in expected.into_iter().enumerate() {
                    assert!((at(plane) - expected).abs() <= tolerance, "{plane} {row} {column}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_named_with_its_row() {
    let good = || (Some(grey(0)), Some(1));
    let wide = encoded(GrayImage::new(4, 2), ImageFormat::Png);
    let colour = encoded(RgbImage::new(3, 2), ImageFormat::Png);
    let half = {
        let mut half = grey(0);
        half.truncate(half.len() / 2);
        half
    };
    // A header that promises 2^31 - 1 rows and columns.
    let mut bomb = grey(0);
    bomb[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    for (image, expected) in [
        (
            wide,
            "row 2 should be an image of 1 channels of 8 bits, 2 rows and 3 columns, got L8, 2 rows and 4 columns",
        ),
        (colour, "got Rgb8, 2 rows and 3 columns"),
        (half, "row 2 should be a whole image"),
        (bomb, "row 2 should be"),
        (
            b"<html>".to_vec(),
            "row 2 should be a PNG or JPEG image, got bytes that begin with [60, 104",
        ),
        (Vec::new(), "row 2 should be a PNG or JPEG image"),
    ] {
        let message = error(&[good(), good(), (Some(image), Some(1)), good()]);
        assert!(message.contains("file 0") && message.contains(expected), "{message}");
    }
    assert!(error(&[good(), (None, Some(1))]).contains("no null among images and labels"));
    assert!(error(&[good(), (Some(grey(0)), None)]).contains("no null among images and labels"));
    for label in [-1, 10, i64::MAX] {
        let message = error(&[good(), (Some(grey(0)), Some(label))]);
        assert!(
            message
                .contains(&format!("the label of row 1 should be from 0 to below 10, got {label}")),
            "{message}"
        );
    }
}

#[test]
fn other_columns_and_other_files_are_errors() {
    let other = SCHEMA.replace("image", "img");
    let message = read(&written(&other, &[(Some(grey(0)), Some(1))])).unwrap_err().to_string();
    let expected = "a column image.bytes of BYTE_ARRAY, got img.bytes of BYTE_ARRAY";
    assert!(message.contains(expected), "{message}");
    let good = written(SCHEMA, &[(Some(grey(0)), Some(1)), (Some(grey(1)), Some(2))]);
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "{length}");
    }
    for bytes in [&b""[..], b"<!DOCTYPE html>", b"PAR1PAR1"] {
        let message = read(bytes).unwrap_err().to_string();
        assert!(message.contains("file 0 should be a parquet file"), "{message}");
    }
    assert!(read(&written(SCHEMA, &[])).unwrap_err().to_string().contains("at least one image"));
}

#[test]
fn a_flipped_bit_is_an_error_or_an_image_of_the_same_shape() {
    let good = written(SCHEMA, &[(Some(grey(0)), Some(1)), (Some(grey(1)), Some(2))]);
    for at in 0..good.len() {
        for bit in [0, 3, 7] {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(dataset) = read(&bytes) {
                assert_eq!(dataset.shape(), [1, 2, 3]);
            }
        }
    }
}

/// A folder in the hub's layout, where there is one.
fn hub(path: &str) -> Option<File> {
    let hub = std::env::var_os("TAPER_TEST_HUB").map(PathBuf::from)?;
    Some(File::open(hub.join(path)).unwrap())
}

#[test]
fn mnist_is_mnist() -> Result<()> {
    let Some(file) = hub("ylecun/mnist/mnist/test-00000-of-00001.parquet") else { return Ok(()) };
    let dataset = read_parquet([file], "image", "label", [1, 28, 28], 10)?;
    assert_eq!(dataset.labels()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    assert_eq!(dataset.class_counts(), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    let sum: f64 = dataset.images().iter().map(|pixel| f64::from(*pixel)).sum();
    assert!((sum / 255.0 / dataset.images().len() as f64 - 0.13251).abs() < 5e-6);
    Ok(())
}

#[test]
fn cifar_is_upright() -> Result<()> {
    let Some(file) = hub("uoft-cs/cifar10/plain_text/test-00000-of-00001.parquet") else {
        return Ok(());
    };
    let dataset = read_parquet([file], "img", "label", [3, 32, 32], 10)?;
    assert_eq!(dataset.labels()[..10], [3, 8, 1, 0, 4, 0, 9, 3, 4, 9]);
    for (channel, mean) in [0.4941, 0.4851, 0.4504].into_iter().enumerate() {
        let plane = |image: &[u8]| {
            image[channel * 1024..][..1024].iter().map(|p| f64::from(*p)).sum::<f64>()
        };
        let sum: f64 = dataset.images().chunks_exact(3072).map(plane).sum();
        // Decoders of JPEG differ by a quarter of a level on average.
        assert!((sum / 255.0 / (1024.0 * dataset.len() as f64) - mean).abs() < 2e-3, "{channel}");
    }
    // The sky is above: in pictures of ships the upper quarter is brighter than the lower one, on average.
    let part = |image: usize, rows: std::ops::Range<usize>| -> f64 {
        let red = &dataset.images()[image * 3072..][..1024];
        red[rows.start * 32..rows.end * 32].iter().map(|pixel| f64::from(*pixel)).sum()
    };
    let ships = (0..dataset.len()).filter(|at| dataset.labels()[*at] == 8);
    let difference: f64 = ships.map(|at| part(at, 0..8) - part(at, 24..32)).sum();
    assert!(difference > 0.0);
    Ok(())
}
