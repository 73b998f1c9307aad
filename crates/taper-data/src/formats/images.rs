//! Image files: PNG and JPEG.

use std::io::Cursor;
use std::thread;

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

/// Decodes `count` images of the same shape after one another into `pixels`, in parts on all processors.
///
/// `file(at)` is the name of an image and its bytes.
pub(super) fn decode_all<B: AsRef<[u8]>>(
    operation: &'static str,
    count: usize,
    shape: [usize; 3],
    pixels: &mut [u8],
    file: impl Fn(usize) -> Result<(String, B)> + Sync,
) -> Result<()> {
    let size = shape.iter().product::<usize>();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = count.div_ceil(threads).max(1);
    let file = &file;
    thread::scope(|scope| {
        let parts = pixels.chunks_mut(part * size).enumerate().map(|(at, pixels)| {
            scope.spawn(move || {
                pixels.chunks_exact_mut(size).enumerate().try_for_each(|(image, pixels)| {
                    let (what, bytes) = file(at * part + image)?;
                    decode(operation, &what, bytes.as_ref(), shape, pixels)
                })
            })
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().try_for_each(|part| match part.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
