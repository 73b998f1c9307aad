//! Changes of training images, drawn anew each epoch.

use taper_core::{Error, Result, Stream};

use crate::ImageDataset;

/// A random change of a training image, on its bytes, before it is divided by the greatest value.
///
/// [`Batches`](crate::Batches) applies those of its config one after the other. The image `index` draws in epoch `e`,
/// counted from 1, from the child `e/index` of the batches' stream: its change depends on the seed, the epoch and its
/// index, not on the size of a batch, the order or the other images. An index that comes twice in an epoch is changed in
/// the same way both times. All channels of an image are changed alike.
///
/// Evaluation takes none: [`ImageDataset::tensors`] gives images as they are, and [`centre_cropped`] the middle of those
/// that are cropped in training.
///
/// # Parameters
/// - `Shift`: from 0 to below the height and the width.
/// - `Crop`: a height and a width from 1 to the image's.
/// - `CutOut`: any side; 0 cuts nothing out.
///
/// # Deviations
/// 1. From DeVries and Taylor's code: a square of an odd side has that side, not one pixel less.
///
/// # Errors
/// [`Batches::new`](crate::Batches::new) refuses what does not fit the image, or what the changes before it leave of it.
///
/// # References
/// - Shift: the "random crop with padding" of He, Zhang, Ren and Sun 2016, Deep residual learning for image recognition,
///   section 4.2, <https://arxiv.org/abs/1512.03385>, with 4 pixels and [`Augmentation::Flip`] after it.
/// - CutOut: DeVries and Taylor 2017, Improved regularization of convolutional neural networks with cutout,
///   <https://arxiv.org/abs/1708.04552>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::Device;
/// use taper_data::{Augmentation, Batches, BatchesConfig, Pixels, digits};
///
/// let digits = digits()?;
/// let config = BatchesConfig {
///     batch_size: 60,
///     pixels: Pixels::Image,
///     augmentations: vec![Augmentation::Shift(1), Augmentation::Crop { height: 7, width: 6 }],
///     ..Default::default()
/// };
/// let stream = taper_core::stream(7, "shuffle");
/// let mut batches = Batches::new(&digits, &digits.indices(), config, stream, &Device::Cpu)?;
/// let (images, _) = batches.next_batch()?;
/// assert_eq!(images.dims(), [60, 1, 7, 6]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Augmentation {
    /// Moves the image up or down and left or right, by whole pixels up to this many, each number of them equally
    /// likely; what comes in is 0. The same as a random window, of the image's size, of the image in a frame of zeros so
    /// many pixels wide.
    Shift(usize),
    /// Swaps left and right with the probability 1/2.
    Flip,
    /// Keeps a window of this many rows and columns, each place equally likely. The images of a batch have its shape.
    Crop {
        /// Rows of the window.
        height: usize,
        /// Columns of the window.
        width: usize,
    },
    /// Sets a square of this side to 0. Each pixel is its centre equally often, so that it can reach over the edge; of
    /// an even side, the centre is the first pixel past the middle.
    CutOut(usize),
}

impl Augmentation {
    /// The shape that it leaves of images of `shape`.
    fn shape_of(self, shape: [usize; 3]) -> Result<[usize; 3]> {
        let [channels, height, width] = shape;
        let wrong = |expected: String, received: String| {
            Err(Error::argument("Batches::new", "augmentations", expected, received))
        };
        match self {
            Self::Shift(by) if by >= height.min(width) => {
                let expected = format!("a shift below {}, the shorter side", height.min(width));
                wrong(expected, by.to_string())
            }
            Self::Crop { height: rows, width: columns } => {
                if (1..=height).contains(&rows) && (1..=width).contains(&columns) {
                    return Ok([channels, rows, columns]);
                }
                let expected = format!("a crop of 1x1 to {height}x{width} pixels");
                wrong(expected, format!("{rows}x{columns}"))
            }
            Self::Shift(_) | Self::Flip | Self::CutOut(_) => Ok(shape),
        }
    }

    /// Changes an image of `shape` in its place, and tells the shape that it has then.
    fn apply(self, image: &mut Vec<u8>, shape: [usize; 3], stream: &mut Stream) -> [usize; 3] {
        let [channels, height, width] = shape;
        match self {
            Self::Shift(by) => {
                let [down, right] =
                    [0; 2].map(|_| stream.below(2 * by as u64 + 1) as isize - by as isize);
                image
                    .chunks_exact_mut(height * width)
                    .for_each(|plane| shift(plane, width, down, right));
            }
            Self::Flip => {
                if stream.below(2) == 1 {
                    image.chunks_exact_mut(width).for_each(<[u8]>::reverse);
                }
            }
            Self::Crop { height: rows, width: columns } => {
                let top = stream.below((height - rows + 1) as u64) as usize;
                let left = stream.below((width - columns + 1) as u64) as usize;
                let mut end = 0;
                for start in window(shape, [top, left], rows) {
                    // Never past where it is read.
                    image.copy_within(start..start + columns, end);
                    end += columns;
                }
                image.truncate(end);
                return [channels, rows, columns];
            }
            Self::CutOut(side) => {
                let reach = |length: usize| {
                    let centre = stream.below(length as u64) as usize;
                    let end = centre.saturating_add(side - side / 2).min(length);
                    centre.saturating_sub(side / 2)..end
                };
                let [rows, columns] = [height, width].map(reach);
                for plane in image.chunks_exact_mut(height * width) {
                    for row in plane.chunks_exact_mut(width).take(rows.end).skip(rows.start) {
                        row[columns.clone()].fill(0);
                    }
                }
            }
        }
        shape
    }
}

/// The images' middle `height` rows and `width` columns; of an odd number too many, one more is cut off at the end. For
/// the evaluation of what [`Augmentation::Crop`] trains.
///
/// # Errors
/// A height or a width that is not from 1 to the images'.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use taper_data::{ImageDataset, centre_cropped};
///
/// let image = vec![0, 1, 2, 3, 4, 5, 6, 7];
/// let dataset = ImageDataset::new(image, [1, 2, 4], 7, vec![0], 1)?;
/// assert_eq!(centre_cropped(&dataset, 2, 2)?.images(), [1, 2, 5, 6]);
/// # Ok(())
/// # }
/// ```
pub fn centre_cropped(dataset: &ImageDataset, height: usize, width: usize) -> Result<ImageDataset> {
    let shape = dataset.shape();
    let [channels, rows, columns] = shape;
    for (argument, length, most) in [("height", height, rows), ("width", width, columns)] {
        if !(1..=most).contains(&length) {
            let expected = format!("from 1 to {most}, the images' {argument}");
            return Err(Error::argument("centre_cropped", argument, expected, length));
        }
    }
    let place = [(rows - height) / 2, (columns - width) / 2];
    let mut images = Vec::with_capacity(dataset.len() * channels * height * width);
    for at in 0..dataset.len() {
        let image = dataset.image(at);
        for start in window(shape, place, height) {
            images.extend_from_slice(&image[start..start + width]);
        }
    }
    let labels = dataset.labels().to_vec();
    let shape = [channels, height, width];
    ImageDataset::new(images, shape, dataset.max_value(), labels, dataset.classes())
}

/// The shape that the augmentations leave of images of `shape`.
pub(crate) fn shape_after(augmentations: &[Augmentation], shape: [usize; 3]) -> Result<[usize; 3]> {
    augmentations.iter().try_fold(shape, |shape, augmentation| augmentation.shape_of(shape))
}

/// The images at `indices`, one after the other, each changed by its own child of `stream`.
pub(crate) fn augmented(
    dataset: &ImageDataset,
    indices: &[usize],
    augmentations: &[Augmentation],
    stream: &Stream,
) -> Vec<u8> {
    let mut images = Vec::new();
    let mut image = Vec::new();
    for index in indices {
        let mut stream = stream.child(&index.to_string());
        image.clear();
        image.extend_from_slice(dataset.image(*index));
        augmentations.iter().fold(dataset.shape(), |shape, augmentation| {
            augmentation.apply(&mut image, shape, &mut stream)
        });
        images.extend_from_slice(&image);
    }
    images
}

/// Where each row of a window begins, of `rows` rows in every channel from the row and column of `place` on.
fn window(
    [channels, height, width]: [usize; 3],
    [top, left]: [usize; 2],
    rows: usize,
) -> impl Iterator<Item = usize> {
    (0..channels).flat_map(move |channel| {
        (0..rows).map(move |row| (channel * height + top + row) * width + left)
    })
}

/// Moves a plane by less than its height and its width; what comes in is 0.
fn shift(plane: &mut [u8], width: usize, down: isize, right: isize) {
    // All rows in one move: what leaves a row comes out at the other end of the next, where 0 has to come in anyway.
    let by = down * width as isize + right;
    let (length, reach) = (plane.len(), by.unsigned_abs());
    if by >= 0 {
        plane.copy_within(..length - reach, reach);
    } else {
        plane.copy_within(reach.., 0);
    }
    let (rows, columns) = (down.unsigned_abs() * width, right.unsigned_abs());
    match down >= 0 {
        true => plane[..rows].fill(0),
        false => plane[length - rows..].fill(0),
    }
    for row in plane.chunks_exact_mut(width) {
        match right >= 0 {
            true => row[..columns].fill(0),
            false => row[width - columns..].fill(0),
        }
    }
}
