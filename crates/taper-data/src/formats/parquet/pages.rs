//! Pages of a column, checked before the parquet crate takes memory for what they promise.

use std::io;

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::ChunkReader;

use super::thrift;

/// How many bytes a byte of a page may unpack to: Snappy has at most 64 bytes in 3.
const UNPACKED: u64 = 32;

/// Encodings whose memory grows with the bytes that are there. The lengths in front of those that are missing here
/// (`DELTA_LENGTH_BYTE_ARRAY`, `DELTA_BYTE_ARRAY`) are a promise.
// `PLAIN_DICTIONARY` is what the dictionary's data pages say in files of the first version of the format.
const ENCODINGS: [Encoding; 4] = [
    Encoding::PLAIN,
    Encoding::PLAIN_DICTIONARY,
    Encoding::RLE_DICTIONARY,
    Encoding::DELTA_BINARY_PACKED,
];

/// Refuses pages that leave `length` bytes from `start` or promise to unpack to more than they can.
pub(super) fn check_sizes(file: &impl ChunkReader, start: u64, length: u64) -> io::Result<()> {
    let (mut at, mut left) = (start, length);
    let damaged = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if start.checked_add(length).is_none_or(|end| end > file.len()) {
        return damaged(format!("a column of {length} bytes from {start}, after the file's end"));
    }
    while left > 0 {
        let page = thrift::page(file.get_read(at).map_err(io::Error::other)?, left)?;
        let whole = page.length.saturating_add(page.packed);
        if whole > left {
            return damaged(format!("a page of {whole} bytes where {left} are left"));
        }
        if page.unpacked > UNPACKED * (page.packed + 1) {
            return damaged(format!("a page of {} bytes in {}", page.unpacked, page.packed));
        }
        (at, left) = (at + whole, left - whole);
    }
    Ok(())
}

/// Pages of which each has been checked.
pub(super) struct Pages(pub(super) Box<dyn PageReader>);

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.0.get_next_page()?;
        match &page {
            // A value takes 4 bytes at least.
            Some(Page::DictionaryPage { buf, num_values, .. })
                if u64::from(*num_values) > buf.len() as u64 / 4 =>
            {
                let bytes = buf.len();
                let what = format!("a dictionary of {num_values} values in {bytes} bytes");
                Err(ParquetError::General(what))
            }
            Some(Page::DataPage { encoding, .. } | Page::DataPageV2 { encoding, .. })
                if !ENCODINGS.contains(encoding) =>
            {
                Err(ParquetError::General(format!("the encoding {encoding} is not read")))
            }
            _ => Ok(page),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
