//! Image files: PNG and JPEG.

use std::io::Cursor;

use image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use taper_core::Result;

use super::wrong;

/// The formats that are read, by the bytes that they begin with.
const FORMATS: [(ImageFormat, &[u8]); 2] =
    [(ImageFormat::Png, b"\x89PNG\r\n\x1a\n"), (ImageFormat::Jpeg, b"\xff\xd8\xff")];

/// The most memory that one image takes while it is decoded.
const ROOM: u64 = 1 << 26;

/// Decodes an image of exactly this shape (channels, height, width), 1 or 3 channels of 8 bits, into planes.
///
/// The shape is told before any pixel is decoded.
pub(super) fn decode(
    operation: &'static str,
    what: &str,
    bytes: &[u8],
    [channels, height, width]: [usize; 3],
    planes: &mut [u8],
) -> Result<()> {
    let format = FORMATS.iter().find(|(_, start)| bytes.starts_with(start));
    let Some((format, _)) = format else {
        let start = &bytes[..bytes.len().min(8)];
        return Err(wrong(
            operation,
            what,
            "a PNG or JPEG image",
            format!("bytes that begin with {start:?}"),
        ));
    };
    let broken = |error: image::ImageError| {
        wrong(operation, what, "a whole image", format!("one that says: {error}"))
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), *format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(ROOM);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(broken)?;
    let color = match channels {
        1 => ColorType::L8,
        _ => ColorType::Rgb8,
    };
    let (found, found_color) = (decoder.dimensions(), decoder.color_type());
    if (found.1 as usize, found.0 as usize) != (height, width)
        || found_color != color
        || ![1, 3].contains(&channels)
    {
        let expected =
            format!("an image of {channels} channels of 8 bits, {height} rows and {width} columns");
        let received = format!("{found_color:?}, {} rows and {} columns", found.1, found.0);
        return Err(wrong(operation, what, expected, received));
    }
    if channels == 1 {
        return decoder.read_image(planes).map_err(broken);
    }
    let mut pixels = vec![0; planes.len()];
    decoder.read_image(&mut pixels).map_err(broken)?;
    for (channel, plane) in planes.chunks_exact_mut(height * width).enumerate() {
        plane
            .iter_mut()
            .zip(pixels.iter().skip(channel).step_by(channels))
            .for_each(|(to, from)| *to = *from);
    }
    Ok(())
}
