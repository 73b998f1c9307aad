//! Labelled images in memory.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use taper_core::{Error, Result};

use crate::disk::Hashed;
use crate::formats::write_images;

/// Labelled images of one size, kept as bytes; a clone shares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDataset {
    // Not `Arc<[u8]>`: making one copies the bytes.
    images: Arc<Vec<u8>>,
    labels: Arc<Vec<u32>>,
    shape: [usize; 3],
    max_value: u8,
    classes: u32,
}

/// The shape that images have in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// (N, C·H·W), for a fully connected network.
    Flat,
    /// (N, C, H, W), for a convolution.
    Image,
}

impl ImageDataset {
    /// A data set of `images`, one after the other, each of `shape` (channels, height, width) with the
    /// last dimension running fastest; `max_value` is the byte that becomes 1, and each label is below
    /// `classes`.
    pub fn new(
        images: Vec<u8>,
        shape: [usize; 3],
        max_value: u8,
        labels: Vec<u32>,
        classes: u32,
    ) -> Result<Self> {
        let wrong = |argument: &str, expected: String, received: String| {
            Err(Error::argument("ImageDataset::new", argument, expected, received))
        };
        let Some(pixels) = pixels_of(shape) else {
            let expected = "three dimensions of at least 1".to_owned();
            return wrong("shape", expected, format!("{shape:?}"));
        };
        if max_value == 0 {
            return wrong("max_value", "at least 1".to_owned(), "0".to_owned());
        }
        if labels.is_empty() {
            let expected = "at least one image".to_owned();
            return wrong("labels", expected, "none".to_owned());
        }
        if labels.len().checked_mul(pixels) != Some(images.len()) {
            let expected = format!("{} images of {pixels} bytes", labels.len());
            return wrong("images", expected, format!("{} bytes", images.len()));
        }
        if let Some(at) = images.iter().position(|value| *value > max_value) {
            let received = format!("{} in image {}", images[at], at / pixels);
            return wrong("images", format!("at most {max_value}"), received);
        }
        if let Some(at) = labels.iter().position(|label| *label >= classes) {
            let received = format!("{} for image {at}", labels[at]);
            return wrong("labels", format!("below {classes}"), received);
        }
        Ok(Self { images: Arc::new(images), labels: Arc::new(labels), shape, max_value, classes })
    }

    /// How many images there are: one at least.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The index of each image, in order.
    pub fn indices(&self) -> Vec<usize> {
        (0..self.len()).collect()
    }

    /// (channels, height, width) of an image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The byte that becomes 1 in a tensor.
    pub fn max_value(&self) -> u8 {
        self.max_value
    }

    /// How many classes there are; each label is below.
    pub fn classes(&self) -> u32 {
        self.classes
    }

    /// The bytes of all images.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// The label of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// How many images each class has.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes as usize];
        for label in self.labels.iter() {
            counts[*label as usize] += 1;
        }
        counts
    }

    /// The images at `indices`, divided by the greatest value so that they lie in [0, 1], and their
    /// labels as u32 (N).
    pub fn tensors(
        &self,
        indices: &[usize],
        pixels: Pixels,
        dtype: DType,
        device: &Device,
    ) -> Result<(Tensor, Tensor)> {
        self.check_indices("ImageDataset::tensors", indices)?;
        let images = indices.iter().map(|index| self.image(*index));
        let images = self.scaled(images, self.shape, pixels, dtype, device)?;
        Ok((images, self.labels_at(indices, device)?))
    }

    /// The bytes of one image.
    pub(crate) fn image(&self, index: usize) -> &[u8] {
        let pixels = self.images.len() / self.len();
        &self.images[index * pixels..(index + 1) * pixels]
    }

    /// The labels at `indices` as u32 (N).
    pub(crate) fn labels_at(&self, indices: &[usize], device: &Device) -> Result<Tensor> {
        let labels: Vec<u32> = indices.iter().map(|index| self.labels[*index]).collect();
        Ok(Tensor::from_vec(labels, indices.len(), device)?)
    }

    /// Images with the greatest value of these, each of `shape`, divided by it.
    pub(crate) fn scaled<'a>(
        &self,
        images: impl ExactSizeIterator<Item = &'a [u8]>,
        shape: [usize; 3],
        pixels: Pixels,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let [channels, height, width] = shape;
        let n = images.len();
        let size = channels * height * width;
        let max_value = self.max_value;
        let images = match dtype {
            DType::F64 => {
                divided(images, size, move |value| f64::from(value) / f64::from(max_value))
            }
            DType::F32 | DType::F16 | DType::BF16 => {
                divided(images, size, move |value| f32::from(value) / f32::from(max_value))
            }
            other => {
                let received = other.as_str();
                return Err(Error::argument(
                    "ImageDataset::tensors",
                    "dtype",
                    "f64, f32, f16 or bf16",
                    received,
                ));
            }
        }?;
        let images = match pixels {
            Pixels::Flat => images.reshape((n, size))?,
            Pixels::Image => images.reshape((n, channels, height, width))?,
        };
        Ok(images.to_dtype(dtype)?.to_device(device)?)
    }

    /// Refuses an empty list and an index that no image has.
    pub(crate) fn check_indices(&self, operation: &'static str, indices: &[usize]) -> Result<()> {
        if indices.is_empty() {
            let expected = "at least one index";
            return Err(Error::argument(operation, "indices", expected, "none"));
        }
        match indices.iter().find(|index| **index >= self.len()) {
            None => Ok(()),
            Some(index) => {
                let expected = format!("below {}, the number of images", self.len());
                Err(Error::argument(operation, "indices", expected, index))
            }
        }
    }

    /// The SHA-256, in hex, of the decoded content: the same for every container that holds it.
    ///
    /// Over the bytes that [`write_images`](crate::formats::write_images) writes, which says what they are.
    pub fn content_digest(&self) -> String {
        let mut hashed = Hashed::default();
        // It takes all that it is given.
        let _ = write_images(self, &mut hashed);
        hashed.hex()
    }
}

/// The quotients of all bytes of images of `size` bytes, one after the other.
///
/// A division for each byte, not a look-up of the 256 quotients: it runs on several bytes at once, on as many as the
/// processor's best instructions take. It rounds the same with all of them.
fn divided<'a, T: candle_core::WithDType>(
    images: impl ExactSizeIterator<Item = &'a [u8]>,
    size: usize,
    quotient: impl Fn(u8) -> T,
) -> Result<Tensor> {
    // All is moved in: through a reference, the divisor could be what is written.
    let values: Vec<T> = pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            let mut values = Vec::with_capacity(images.len() * size);
            for image in images {
                values.extend(image.iter().map(|value| quotient(*value)));
            }
            values
        },
    );
    let n = values.len();
    Ok(Tensor::from_vec(values, n, &Device::Cpu)?)
}

/// How many pixels an image of `shape` has, if that is a number and not 0.
pub(crate) fn pixels_of(shape: [usize; 3]) -> Option<usize> {
    let [channels, height, width] = shape;
    let pixels = channels.checked_mul(height)?.checked_mul(width)?;
    (pixels > 0).then_some(pixels)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::disk::hex;

    /// Two images of 1x2 pixels up to 4.
    fn two() -> ImageDataset {
        ImageDataset::new(vec![0, 1, 2, 4], [1, 1, 2], 4, vec![1, 0], 3).unwrap()
    }

    #[test]
    fn tensors_are_scaled_and_shaped() -> Result<()> {
        let (images, labels) = two().tensors(&[1, 0, 1], Pixels::Flat, DType::F64, &Device::Cpu)?;
        assert_eq!(images.to_vec2::<f64>()?, [[0.5, 1.0], [0.0, 0.25], [0.5, 1.0]]);
        assert_eq!(labels.to_vec1::<u32>()?, [0, 1, 0]);
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let (images, _) = two().tensors(&[0], Pixels::Image, dtype, &Device::Cpu)?;
            assert_eq!((images.dims(), images.dtype()), (&[1, 1, 1, 2][..], dtype));
            let values = images.flatten_all()?.to_dtype(DType::F64)?;
            assert_eq!(values.to_vec1::<f64>()?, [0.0, 0.25]);
        }
        Ok(())
    }

    #[test]
    fn every_byte_is_divided_by_the_greatest_value_to_the_bit() -> Result<()> {
        for max_value in 1..=u8::MAX {
            let bytes: Vec<u8> = (0..=max_value).collect();
            let dataset =
                ImageDataset::new(bytes.clone(), [1, 1, bytes.len()], max_value, vec![0], 1)?;
            let values = |dtype| {
                dataset
                    .tensors(&[0], Pixels::Flat, dtype, &Device::Cpu)?
                    .0
                    .squeeze(0)
                    .map_err(Error::from)
            };
            // Rounded once: a product with the reciprocal is rounded twice, and some differ.
            let narrow = values(DType::F32)?.to_vec1::<f32>()?;
            let wide = values(DType::F64)?.to_vec1::<f64>()?;
            for (at, byte) in bytes.iter().enumerate() {
                let (narrow, wide) = (narrow[at], wide[at]);
                let expected = f64::from(*byte) / f64::from(max_value);
                assert_eq!(narrow.to_bits(), (f32::from(*byte) / f32::from(max_value)).to_bits());
                assert_eq!(wide.to_bits(), expected.to_bits());
            }
        }
        Ok(())
    }

    #[test]
    fn counts_classes_without_images_too() {
        assert_eq!(two().class_counts(), [1, 1, 0]);
    }

    #[test]
    fn the_digest_is_over_the_documented_bytes() {
        let mut bytes = b"taper image dataset 1\n".to_vec();
        for number in [2u64, 1, 1, 2, 4, 3] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([0, 1, 2, 4]);
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(two().content_digest(), hex(&Sha256::digest(bytes)));
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let new = |images: &[u8], shape, max_value, labels: &[u32], classes| {
            ImageDataset::new(images.to_vec(), shape, max_value, labels.to_vec(), classes)
                .unwrap_err()
                .to_string()
        };
        for (message, expected) in [
            (
                new(&[], [1, 0, 2], 4, &[], 1),
                "ImageDataset::new: shape should be three dimensions of at least 1, got [1, 0, 2]",
            ),
            (new(&[], [usize::MAX, 2, 1], 4, &[], 1), "shape should be three dimensions"),
            (new(&[0], [1, 1, 1], 0, &[0], 1), "max_value should be at least 1, got 0"),
            (new(&[], [1, 1, 1], 4, &[], 1), "labels should be at least one image"),
            (
                new(&[0; 3], [1, 1, 2], 4, &[0; 2], 1),
                "images should be 2 images of 2 bytes, got 3 bytes",
            ),
            (
                new(&[0, 0, 0, 5], [1, 1, 2], 4, &[0; 2], 1),
                "images should be at most 4, got 5 in image 1",
            ),
            (new(&[0, 0], [1, 1, 1], 4, &[0, 3], 3), "labels should be below 3, got 3 for image 1"),
        ] {
            assert!(message.contains(expected), "{message}");
        }
        let tensors = |indices: &[usize], dtype| {
            let tensors = two().tensors(indices, Pixels::Flat, dtype, &Device::Cpu);
            tensors.unwrap_err().to_string()
        };
        assert!(
            tensors(&[0, 2], DType::F32)
                .contains("indices should be below 2, the number of images")
        );
        assert!(tensors(&[], DType::F32).contains("at least one index"));
        assert!(tensors(&[0], DType::U8).contains("dtype should be f64, f32, f16 or bf16, got u8"));
    }
}
