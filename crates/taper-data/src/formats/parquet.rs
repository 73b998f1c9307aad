//! Parquet files with embedded images, as the Hugging Face hub has them.

mod pages;
mod thrift;

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, get_column_reader, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use taper_core::Result;

use self::pages::{Pages, check_sizes};
use super::{MOST, images, wrong};
use crate::ImageDataset;
use crate::dataset::pixels_of;

const NAME: &str = "read_parquet";

/// Rows that are asked for at once.
const ROWS: usize = 1024;

/// How many times the bytes of a file its images may have: a dictionary has the same image in many rows.
const REPEATED: u64 = 1024;

/// Reads the images and labels of parquet files, one after the other, in the order of the rows.
///
/// `image` names the column of images: a struct whose field `bytes` is a whole PNG or JPEG file. `label` names the column
/// of their classes, integers of 64 bits below `classes`. `shape` is (channels, height, width) of every image. Images are
/// decoded on all processors. Columns are plain or in Snappy; images are `PLAIN` or in a dictionary, labels may be deltas.
///
/// # Errors
/// A file that is no parquet file, promises more than its bytes can hold, lacks a column or has another type or a null in
/// it, an image that cannot be decoded or has another shape (which is told before it is decoded), a label out of range;
/// each names the file by its number from 0 and, where there is one, the row.
pub fn read_parquet(
    files: impl IntoIterator<Item = File>,
    image: &str,
    label: &str,
    shape: [usize; 3],
    classes: u32,
) -> Result<ImageDataset> {
    if pixels_of(shape).is_none() {
        return Err(wrong(NAME, "shape", "three dimensions of at least 1", format!("{shape:?}")));
    }
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (at, file) in files.into_iter().enumerate() {
        let what = format!("file {at}");
        // The crate panics on some damaged files; what was read until then is dropped with the error. Where it would take
        // too much memory instead, the process would end, so that is checked before.
        let read = || read(file, &what, [image, label], shape, &mut pixels, &mut labels);
        catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_| Err(wrong(NAME, &what, "a whole parquet file", "a damaged one")))?;
    }
    let class = |(at, label): (usize, i64)| {
        u32::try_from(label).ok().filter(|label| *label < classes).ok_or_else(|| {
            wrong(
                NAME,
                format!("the label of row {at}"),
                format!("from 0 to below {classes}"),
                label,
            )
        })
    };
    let labels = labels.into_iter().enumerate().map(class).collect::<Result<Vec<_>>>()?;
    ImageDataset::new(pixels, shape, u8::MAX, labels, classes)
}

fn read(
    file: File,
    what: &str,
    [image, label]: [&str; 2],
    shape: [usize; 3],
    pixels: &mut Vec<u8>,
    labels: &mut Vec<i64>,
) -> Result<()> {
    let broken = |error: ParquetError| {
        wrong(NAME, what, "a parquet file", format!("one that says: {error}"))
    };
    let damaged =
        |error: io::Error| wrong(NAME, what, "a parquet file", format!("one with {error}"));
    check_metadata(&file).map_err(damaged)?;
    let most = Length::len(&file).saturating_mul(REPEATED);
    let again = file.try_clone().map_err(|error| wrong(NAME, what, "readable", error))?;
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let column = |path: String, kind: Type| {
        let at = schema.columns().iter().position(|column| {
            column.path().string() == path
                && column.physical_type() == kind
                && column.max_rep_level() == 0
        });
        at.ok_or_else(|| {
            let there: Vec<String> = schema
                .columns()
                .iter()
                .map(|column| format!("{} of {}", column.path().string(), column.physical_type()))
                .collect();
            wrong(
                NAME,
                what,
                format!("one with a column {path} of {kind}"),
                format!("one with {}", there.join(", ")),
            )
        })
    };
    let image = column(format!("{image}.bytes"), Type::BYTE_ARRAY)?;
    let label = column(label.to_owned(), Type::INT64)?;
    let (first, mut encoded) = (labels.len(), 0u64);
    let mut images = 0;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(broken)?;
        let pages = |column: usize| -> Result<ColumnReader> {
            let descriptor = group.metadata().column(column).column_descr_ptr();
            let pages = group.get_column_page_reader(column).map_err(broken)?;
            let (start, length) = group.metadata().column(column).byte_range();
            check_sizes(&again, start, length).map_err(damaged)?;
            Ok(get_column_reader(descriptor, Box::new(Pages(pages))))
        };
        column_of::<ByteArrayType>(pages(image)?, what, |batch| {
            encoded += batch.iter().map(|image| image.len() as u64).sum::<u64>();
            if encoded > most {
                let expected = format!("at most {most} bytes of images, {REPEATED} times its own");
                return Err(wrong(NAME, what, expected, "more"));
            }
            decode(batch, what, first + images, shape, pixels)?;
            images += batch.len();
            Ok(())
        })?;
        let as_many = |labels: usize, fits: bool| match fits {
            true => Ok(()),
            false => {
                let received = format!("{images} images and {labels} labels");
                Err(wrong(NAME, what, "as many labels as images", received))
            }
        };
        column_of::<Int64Type>(pages(label)?, what, |batch| {
            labels.append(batch);
            as_many(labels.len() - first, labels.len() - first <= images)
        })?;
        as_many(labels.len() - first, labels.len() - first == images)?;
    }
    Ok(())
}

/// Checks what the metadata at the end of a file promises, where there is some; the crate says what else is wrong.
fn check_metadata(file: &impl ChunkReader) -> io::Result<()> {
    let Some(end) = file.len().checked_sub(8) else { return Ok(()) };
    let tail = file.get_bytes(end, 8).map_err(io::Error::other)?;
    if tail[4..] != *b"PAR1" {
        return Ok(());
    }
    let length = tail[..4].iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    let Some(start) = end.checked_sub(length) else { return Ok(()) };
    thrift::check_metadata(&file.get_bytes(start, length as usize).map_err(io::Error::other)?)
}

/// Hands on all values of a column of a row group, so many at once; there is no null among them.
fn column_of<T: DataType>(
    column: ColumnReader,
    what: &str,
    mut take: impl FnMut(&mut Vec<T::T>) -> Result<()>,
) -> Result<()> {
    let broken = |error: ParquetError| {
        wrong(NAME, what, "a whole parquet file", format!("one that says: {error}"))
    };
    let mut reader = get_typed_column_reader::<T>(column);
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    loop {
        levels.clear();
        values.clear();
        let (rows, found, _) =
            reader.read_records(ROWS, Some(&mut levels), None, &mut values).map_err(broken)?;
        if rows != found {
            return Err(wrong(NAME, what, "no null among images and labels", "one"));
        }
        if rows == 0 {
            return Ok(());
        }
        take(&mut values)?;
    }
}

/// Decodes images after one another into `pixels`.
fn decode(
    encoded: &[ByteArray],
    what: &str,
    first: usize,
    shape: [usize; 3],
    pixels: &mut Vec<u8>,
) -> Result<()> {
    let size = shape.iter().product::<usize>();
    let start = pixels.len();
    let length = encoded.len().checked_mul(size).filter(|length| (start + length) as u64 <= MOST);
    let Some(length) = length else {
        let received = format!("{} images of {shape:?}", encoded.len());
        return Err(wrong(NAME, what, format!("at most {MOST} bytes of pixels"), received));
    };
    pixels.resize(start + length, 0);
    images::decode_all(NAME, encoded.len(), shape, &mut pixels[start..], |at| {
        Ok((format!("{what}, row {}", first + at), encoded[at].data()))
    })
}
