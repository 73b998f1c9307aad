use std::fs::File;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::Arc;

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
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
    let expected =
        "one with a column image.bytes of BYTE_ARRAY, got one with img.bytes of BYTE_ARRAY";
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

/// A number as Thrift's compact protocol has it: seven bits a byte, the lowest first.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A file that is metadata alone.
fn with_metadata(metadata: &[u8]) -> Vec<u8> {
    [b"PAR1", metadata, &(metadata.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// The metadata of a file whose schema has so many columns and groups, each with so many children.
fn nested(elements: u64, children: u64) -> Vec<u8> {
    // Field 1, the version; field 2, a list of structs with field 4, a name, and field 5, the children.
    let mut bytes = vec![0x15, 2, 0x19, 0xfc];
    bytes.extend(varint(elements));
    for _ in 0..elements {
        bytes.extend([0x48, 1, b'a', 0x15]);
        bytes.extend(varint(2 * children));
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

#[test]
fn what_metadata_promises_is_not_believed() {
    // In order: the crate would take 16 GiB, overflow the stack, count to 2^31 for nothing, and read other fields than
    // those that were checked.
    let mut list = nested(1, 0);
    list.pop();
    list.extend([0x99, 0xf1]);
    list.extend(varint(i32::MAX as u64));
    list.push(0);
    let mut twice = nested(1, 0);
    twice.pop();
    twice.extend([0x09, 4, 0x1c, 0]);
    for (metadata, expected) in [
        (nested(1, i32::MAX as u64), "1 columns and groups, 2147483647 of them in groups"),
        (nested(100_000, 1), "100000 columns and groups, 100000 of them in groups"),
        ([nested(100_000, 1), vec![0]].concat(), "of them in groups"),
        (list, "a list of 2147483647 in 1 bytes"),
        (twice, "another field after field 2"),
        (vec![0x16, 2, 0], "field 1 of type 6, not 5"),
        (vec![0x1c; 100], "field 1 of type 12, not 5"),
        ([vec![0x5c], vec![0x1c; 100]].concat(), "structs more than 32 deep"),
        (vec![0x15], "failed to fill whole buffer"),
    ] {
        let message = read(&with_metadata(&metadata)).unwrap_err().to_string();
        let parquet = message.contains("file 0 should be a parquet file, got one with");
        assert!(parquet && message.contains(expected), "{message}");
    }
    // A last column closes the groups, so that their number is right.
    let mut deep = nested(100_000, 1);
    let last = deep.len() - 3;
    assert_eq!(deep[last], 2);
    deep[last] = 0;
    let message = read(&with_metadata(&deep)).unwrap_err().to_string();
    assert!(message.contains("groups of columns more than 32 deep"), "{message}");
}

/// A file of two images with the bytes `from` replaced, wherever they are.
fn patched(from: &[u8], to: &[u8]) -> String {
    let mut bytes = written(SCHEMA, &[(Some(grey(0)), Some(1)), (Some(grey(1)), Some(2))]);
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + from.len()].copy_from_slice(to);
    read(&bytes).unwrap_err().to_string()
}

#[test]
fn what_a_page_promises_is_not_believed() {
    let size = 2 * (4 + grey(0).len() as u64);
    // The first page is the dictionary: fields 1 to 3, its type, its size unpacked and packed.
    let header = |unpacked, packed| {
        [vec![0x15, 4, 0x15], varint(2 * unpacked), vec![0x15], varint(2 * packed)].concat()
    };
    let message = patched(&header(size, size), &header(8191, size));
    assert!(message.contains(&format!("a page of 8191 bytes in {size}")), "{message}");
    let message = patched(&header(size, size), &header(size, 8191));
    assert!(message.contains("bytes where"), "{message}");
    // Then a struct with field 1, the number of values.
    let values = |number: u8| [header(size, size), vec![0x4c, 0x15, 2 * number]].concat();
    let message = patched(&values(2), &values(63));
    assert!(message.contains(&format!("a dictionary of 63 values in {size} bytes")), "{message}");
}

/// A file with the same image and label in each of so many rows.
fn repeated(rows: usize, properties: WriterProperties) -> Vec<u8> {
    let schema = "message schema {
        required group image { required binary bytes; }
        required int64 label;
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let images = vec![ByteArray::from(grey(0)); rows];
    column.typed::<ByteArrayType>().write_batch(&images, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&vec![3; rows], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn a_dictionary_may_repeat_an_image_but_not_for_ever() -> Result<()> {
    let rows = |count| {
        let properties = WriterProperties::builder().set_data_page_row_count_limit(usize::MAX);
        repeated(count, properties.build())
    };
    let (few, many) = (rows(2_500), rows(40_000));
    assert_eq!(read(&few)?.len(), 2_500);
    assert!(many.len() < 2 * few.len());
    let message = read(&many).unwrap_err().to_string();
    assert!(message.contains("bytes of images, 1024 times its own, got more"), "{message}");
    Ok(())
}

/// A page of `DELTA_LENGTH_BYTE_ARRAY` that promises a billion lengths, for which the crate takes 4 GB: found by
/// fuzzing.
const LENGTHS: &[u8] = b"PAR1\x15\0\x15\xd8\x03\x15\xd8\x03,\x15\x06\x15\x0c\x15\x06\x15\x06\x1c\0\0\0\x02\0\0\0\x06\x02\x80\x01\
    \x04\xfb\xfb\xfb\xfb\x1f\0\0\0\0\0\x16\x04\x19\\3\0\x18\x06schema\x15\x04\x005\x02\x18\x05image\x15\x04\0\
    \x15\x0c%\x02\x18\x05bytes\0\x15\x0c%\x02\x18\x04path%\0L\x1c\0\0\0\x15\x04%\x02\x18\x05label\0\x16\x06\
    \x19\x1c\x19<&\0\x1c\x15\x0c\x19%\x06\x0c\x19(\x05image\x05bytes\x15\0\x16\x06\x16\x82\x04\x16\x82\x04&\
    \x08I\x1c\x15\0\x15\x0c\x15\x02\0<\x16\xb6\x03\x19\x06\x196\0\0\x06\0\0\0&\0\x1c\x15\x0c\x19%\x06\x0e\x19\
    (\x05image\x04path\x15\0\x16\x06\x16F\x16F&\x8a\x04I\x1c\x15\0\x15\x0e\x15\x02\0<\x16\0\x19\x06\x196\0\
    \x06\0\0\0\0&\0\x1c\x15\x04\x19%\x06\x0a\x19\x18\x05label\x15\0\x16\x06\x16v\x16v&\xd0\x04I\x1c\x15\0\x15\
    \x0a\x15\x02\0<)\x06\x19&\0\x06\0\0\0\x16\xbe\x05\x16\x06&\x08\x16\xbe\x05\0( parquet-cpp-arrow version 2\
    6.0.1\x19<\x1c\0\0\x1c\0\0\x1c\0\0\0%\x01\0\0PAR1";

#[test]
fn lengths_in_front_of_their_bytes_are_not_believed() {
    let message = read(LENGTHS).unwrap_err().to_string();
    assert!(
        message.contains("file 0 should be a parquet file, got one with field 1 of type 6"),
        "{message}"
    );
    let image = ColumnPath::from(vec!["image".to_owned(), "bytes".to_owned()]);
    for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
        let properties = WriterProperties::builder()
            .set_column_dictionary_enabled(image.clone(), false)
            .set_column_encoding(image.clone(), encoding);
        let message = read(&repeated(2, properties.build())).unwrap_err().to_string();
        assert!(message.contains(&format!("the encoding {encoding} is not read")), "{message}");
    }
}

#[test]
fn deltas_of_labels_and_second_pages_are_read() -> Result<()> {
    let label = ColumnPath::from("label");
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::SNAPPY)
        .set_column_dictionary_enabled(label.clone(), false)
        .set_column_encoding(label, Encoding::DELTA_BINARY_PACKED);
    let dataset = read(&repeated(3_000, properties.build()))?;
    assert_eq!(dataset.labels(), [3; 3_000]);
    Ok(())
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
