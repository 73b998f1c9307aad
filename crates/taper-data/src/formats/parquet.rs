//! Parquet files with embedded images, as the Hugging Face hub has them.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use taper_core::Result;

use super::{MOST, images, wrong};
use crate::ImageDataset;
use crate::dataset::pixels_of;

const NAME: &str = "read_parquet";

/// Rows that are asked for at once.
const ROWS: usize = 1024;

/// Reads the images and labels of parquet files, one after the other, in the order of the rows.
///
/// `image` names the column of images: a struct whose field `bytes` is a whole PNG or JPEG file. `label` names the column
/// of their classes, integers of 64 bits below `classes`. `shape` is (channels, height, width) of every image. Images are
/// decoded on all processors.
///
/// # Errors
/// A file that is no parquet file, lacks a column or has another type or a null in it, an image that cannot be decoded or
/// has another shape (which is told before it is decoded), a label out of range; each names the file by its number from 0
/// and the row.
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
        // The crate panics on some damaged files; what was read until then is dropped with the error.
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
    file: impl ChunkReader + 'static,
    what: &str,
    [image, label]: [&str; 2],
    shape: [usize; 3],
    pixels: &mut Vec<u8>,
    labels: &mut Vec<i64>,
) -> Result<()> {
    let broken = |error: parquet::errors::ParquetError| {
        wrong(NAME, what, "a parquet file", format!("one that says: {error}"))
    };
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
            wrong(NAME, what, format!("a column {path} of {kind}"), there.join(", "))
        })
    };
    let columns = (
        column(format!("{image}.bytes"), Type::BYTE_ARRAY)?,
        column(label.to_owned(), Type::INT64)?,
    );
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(broken)?;
        let (mut encoded, before) = (Vec::new(), labels.len());
        column_of::<ByteArrayType>(&*group, columns.0, what, &mut encoded)?;
        column_of::<Int64Type>(&*group, columns.1, what, labels)?;
        if labels.len() - before != encoded.len() {
            let received = format!("{} images and {} labels", encoded.len(), labels.len() - before);
            return Err(wrong(NAME, what, "as many labels as images", received));
        }
        decode(&encoded, what, before, shape, pixels)?;
    }
    Ok(())
}

/// All values of a column of a row group; there is no null among them.
fn column_of<T: parquet::data_type::DataType>(
    group: &dyn RowGroupReader,
    column: usize,
    what: &str,
    values: &mut Vec<T::T>,
) -> Result<()> {
    let broken = |error: parquet::errors::ParquetError| {
        wrong(NAME, what, "a whole parquet file", format!("one that says: {error}"))
    };
    let reader: ColumnReader = group.get_column_reader(column).map_err(broken)?;
    let mut reader = get_typed_column_reader::<T>(reader);
    loop {
        let mut levels = Vec::new();
        let (rows, found, _) =
            reader.read_records(ROWS, Some(&mut levels), None, values).map_err(broken)?;
        if rows != found {
            return Err(wrong(NAME, what, "no null among images and labels", "one"));
        }
        if rows == 0 {
            return Ok(());
        }
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
