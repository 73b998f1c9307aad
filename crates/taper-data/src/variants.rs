//! Harder versions of a data set, each image changed by itself.
//!
//! Each image draws from a child of the stream that is named by its index, so that it is changed in the same way whatever
//! else is in the set.

use std::f64::consts::TAU;

use candle_core::Tensor;
use taper_core::{Error, Result, Stream};

use crate::ImageDataset;

/// Every image turned about its middle by an angle drawn evenly from the whole circle, as in "mnist-rot".
///
/// Values between pixels are interpolated bilinearly; outside the image is 0.
///
/// # References
/// Larochelle, Erhan, Courville, Bergstra and Bengio 2007, An empirical evaluation of deep architectures on problems
/// with many factors of variation, <https://doi.org/10.1145/1273496.1273556>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// let digits = taper_data::digits()?;
/// let turned = taper_data::rotated(&digits, &taper_core::stream(7, "turned"))?;
/// assert_eq!((turned.shape(), turned.labels()), (digits.shape(), digits.labels()));
/// # Ok(())
/// # }
/// ```
pub fn rotated(dataset: &ImageDataset, stream: &Stream) -> Result<ImageDataset> {
    let [_, height, width] = dataset.shape();
    changed(dataset, stream, |image, stream, changed| {
        let angle = TAU * stream.unit();
        for (plane, changed) in
            image.chunks_exact(height * width).zip(changed.chunks_exact_mut(height * width))
        {
            turn(plane, [height, width], angle, changed);
        }
    })
}

/// A plane turned by an angle from the columns' direction to the rows'.
fn turn(plane: &[u8], [height, width]: [usize; 2], angle: f64, turned: &mut [u8]) {
    let (sin, cos) = angle.sin_cos();
    let middle = [height, width].map(|length| (length as f64 - 1.0) / 2.0);
    let value = |row: f64, column: f64| -> f64 {
        let inside = row >= 0.0 && column >= 0.0 && row < height as f64 && column < width as f64;
        if inside { f64::from(plane[row as usize * width + column as usize]) } else { 0.0 }
    };
    for (at, turned) in turned.iter_mut().enumerate() {
        let (y, x) = ((at / width) as f64 - middle[0], (at % width) as f64 - middle[1]);
        // Where it comes from: turned back.
        let (row, column) = (cos * y - sin * x + middle[0], sin * y + cos * x + middle[1]);
        let (above, left) = (row.floor(), column.floor());
        let (down, along) = (row - above, column - left);
        let upper = (1.0 - along) * value(above, left) + along * value(above, left + 1.0);
        let lower =
            (1.0 - along) * value(above + 1.0, left) + along * value(above + 1.0, left + 1.0);
        *turned = ((1.0 - down) * upper + down * lower).round() as u8;
    }
}

/// Every image in front of noise: the brighter of each pixel and a number drawn evenly from 0 to the greatest value, as
/// in "mnist-back-rand" (see [`rotated`]).
pub fn on_noise(dataset: &ImageDataset, stream: &Stream) -> Result<ImageDataset> {
    let levels = u64::from(dataset.max_value()) + 1;
    changed(dataset, stream, |image, stream, changed| {
        for (pixel, changed) in image.iter().zip(changed) {
            *changed = (*pixel).max(stream.below(levels) as u8);
        }
    })
}

/// Every image in front of a patch of one of `pictures`, drawn evenly, of which the brighter pixel counts, as in
/// "mnist-back-image" (see [`rotated`]).
///
/// # Errors
/// Pictures with another number of channels or another greatest value than the images, or smaller than they are.
pub fn on_patches(
    dataset: &ImageDataset,
    pictures: &ImageDataset,
    stream: &Stream,
) -> Result<ImageDataset> {
    let [channels, height, width] = dataset.shape();
    let [layers, tall, wide] = pictures.shape();
    let fits = layers == channels && tall >= height && wide >= width;
    if !fits || pictures.max_value() != dataset.max_value() {
        let expected = format!(
            "of {channels} channels, at least {height} rows and {width} columns, with the greatest value {}",
            dataset.max_value()
        );
        let received = format!("{:?} with {}", pictures.shape(), pictures.max_value());
        return Err(Error::argument("on_patches", "pictures", expected, received));
    }
    changed(dataset, stream, |image, stream, changed| {
        let size = layers * tall * wide;
        let picture = stream.below(pictures.len() as u64) as usize;
        let picture = &pictures.images()[picture * size..(picture + 1) * size];
        let top = stream.below((tall - height + 1) as u64) as usize;
        let left = stream.below((wide - width + 1) as u64) as usize;
        for (at, (pixel, changed)) in image.iter().zip(changed).enumerate() {
            let (row, column) = (at / width, at % width);
            let (channel, row) = (row / height, row % height);
            let behind = picture[(channel * tall + top + row) * wide + left + column];
            *changed = (*pixel).max(behind);
        }
    })
}

/// How pixels become 0 or the greatest value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Binarization {
    /// Those above this part of the greatest value become it.
    Threshold(f64),
    /// Each becomes the greatest value with the probability that it is of it: drawn once, as in the "binarized MNIST" of
    /// Salakhutdinov and Murray 2008.
    Sampled,
}

/// Images of 0 and the greatest value alone; [`binarize`] draws anew for each batch.
///
/// # Errors
/// A threshold that is not from 0 to below 1.
pub fn binarized(
    dataset: &ImageDataset,
    binarization: Binarization,
    stream: &Stream,
) -> Result<ImageDataset> {
    if let Binarization::Threshold(threshold) = binarization
        && !(0.0..1.0).contains(&threshold)
    {
        return Err(Error::argument("binarized", "threshold", "from 0 to below 1", threshold));
    }
    let most = dataset.max_value();
    changed(dataset, stream, |image, stream, changed| {
        for (pixel, changed) in image.iter().zip(changed) {
            let part = f64::from(*pixel) / f64::from(most);
            let on = match binarization {
                Binarization::Threshold(threshold) => part > threshold,
                Binarization::Sampled => stream.unit() < part,
            };
            *changed = if on { most } else { 0 };
        }
    })
}

/// A batch of pixels in [0, 1] as zeros and ones, each one with its own probability: dynamic binarization, where each
/// epoch sees others.
///
/// # Errors
/// A dtype that is not floating-point; a pixel outside of [0, 1].
pub fn binarize(images: &Tensor, stream: &mut Stream) -> Result<Tensor> {
    if !images.dtype().is_float() {
        let received = format!("{:?}", images.dtype());
        return Err(Error::argument("binarize", "images", "floating-point", received));
    }
    let mut values = images.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    // Written so that NaN is refused.
    if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(Error::argument("binarize", "images", "pixels from 0 to 1", value));
    }
    values.iter_mut().for_each(|value| *value = f64::from(u8::from(stream.unit() < *value)));
    let binary = Tensor::from_vec(values, images.shape(), &candle_core::Device::Cpu)?;
    Ok(binary.to_dtype(images.dtype())?.to_device(images.device())?)
}

/// Each image changed by `change(image, its own stream, the place for the changed one)`.
fn changed(
    dataset: &ImageDataset,
    stream: &Stream,
    change: impl Fn(&[u8], &mut Stream, &mut [u8]),
) -> Result<ImageDataset> {
    let size: usize = dataset.shape().iter().product();
    let mut images = vec![0; dataset.images().len()];
    let pairs = dataset.images().chunks_exact(size).zip(images.chunks_exact_mut(size));
    for (at, (image, changed)) in pairs.enumerate() {
        change(image, &mut stream.child(&at.to_string()), changed);
    }
    let labels = dataset.labels().to_vec();
    ImageDataset::new(images, dataset.shape(), dataset.max_value(), labels, dataset.classes())
}
