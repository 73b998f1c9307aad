//! To and from candle's own data sets.

use candle_core::{DType, Device, Tensor};
use candle_datasets::vision::Dataset;
use taper_core::{Error, Result};

use crate::dataset::pixels_of;
use crate::{ImageDataset, Pixels, Split};

/// How far a pixel may be from a byte's value, in units of the byte: the rounding of f16 and more.
const TOLERANCE: f32 = 0.1;

impl ImageDataset {
    /// The two parts of `split` as candle has data sets: f32 images in [0, 1] and u8 labels, on the CPU.
    ///
    /// candle's MNIST has [`Pixels::Flat`], its CIFAR-10 [`Pixels::Image`].
    pub fn to_vision(&self, split: &Split, pixels: Pixels) -> Result<Dataset> {
        if self.classes() > 256 {
            let expected = "at most 256 classes, since candle has labels as u8";
            let received = self.classes();
            return Err(Error::argument("ImageDataset::to_vision", "self", expected, received));
        }
        let part = |indices: &[usize]| -> Result<(Tensor, Tensor)> {
            let (images, labels) = self.tensors(indices, pixels, DType::F32, &Device::Cpu)?;
            Ok((images, labels.to_dtype(DType::U8)?))
        };
        let (train_images, train_labels) = part(&split.train)?;
        let (test_images, test_labels) = part(&split.test)?;
        Ok(Dataset {
            train_images,
            train_labels,
            test_images,
            test_labels,
            labels: self.classes() as usize,
        })
    }

    /// One data set of both parts of candle's, the training part first, and the split that tells them
    /// apart.
    ///
    /// Images are (N, C·H·W) or (N, C, H, W) in [0, 1], of `shape` (channels, height, width); the bytes
    /// they were made from, up to `max_value`, are found again by rounding. `candle_datasets` 0.11.1 loads
    /// CIFAR-10 with rows and columns exchanged: transpose it first.
    ///
    /// # Errors
    /// Images of another shape, labels that are not one for an image, a pixel outside [0, 1] or between
    /// two bytes, a label that is no class.
    pub fn from_vision(
        dataset: &Dataset,
        shape: [usize; 3],
        max_value: u8,
    ) -> Result<(Self, Split)> {
        let mut images = bytes(&dataset.train_images, "train_images", shape, max_value)?;
        let mut labels = whole_numbers(&dataset.train_labels, "train_labels")?;
        let n_train = labels.len();
        images.extend(bytes(&dataset.test_images, "test_images", shape, max_value)?);
        labels.extend(whole_numbers(&dataset.test_labels, "test_labels")?);
        let classes = u32::try_from(dataset.labels).unwrap_or(u32::MAX);
        for (name, images, labels) in [
            ("train_labels", &dataset.train_images, &dataset.train_labels),
            ("test_labels", &dataset.test_images, &dataset.test_labels),
        ] {
            let (expected, received) = (images.dims().first(), labels.dims().first());
            if expected != received {
                let expected = format!("{expected:?} of them, as many as images");
                return Err(wrong(name, &expected, format!("{received:?}")));
            }
        }
        let n = labels.len();
        let together = Self::new(images, shape, max_value, labels, classes)?;
        let split = Split { train: (0..n_train).collect(), test: (n_train..n).collect() };
        Ok((together, split))
    }
}

fn bytes(images: &Tensor, name: &str, shape: [usize; 3], max_value: u8) -> Result<Vec<u8>> {
    let [channels, height, width] = shape;
    let fits = match images.dims() {
        [_, pixels] => pixels_of(shape) == Some(*pixels),
        [_, image @ ..] => *image == shape,
        [] => false,
    };
    if !fits {
        let expected =
            format!("(N, {channels}·{height}·{width}) or (N, {channels}, {height}, {width})");
        return Err(wrong(name, &expected, format!("{:?}", images.dims())));
    }
    let values = images.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let max_value = f32::from(max_value);
    let byte = |(at, value): (usize, &f32)| {
        let scaled = value * max_value;
        let whole = scaled.round();
        // Written so that a NaN is refused as well.
        if (0.0..=max_value).contains(&whole) && (scaled - whole).abs() <= TOLERANCE {
            return Ok(whole as u8);
        }
        let expected = format!("a multiple of 1/{max_value} in [0, 1]");
        let image = at / (channels * height * width);
        Err(wrong(name, &expected, format!("{value} in image {image}")))
    };
    values.iter().enumerate().map(byte).collect()
}

fn whole_numbers(labels: &Tensor, name: &str) -> Result<Vec<u32>> {
    let labels = match labels.dims() {
        [_] => labels.to_dtype(DType::I64)?.to_vec1::<i64>()?,
        dims => return Err(wrong(name, "(N)", format!("{dims:?}"))),
    };
    let label =
        |label: i64| u32::try_from(label).map_err(|_| wrong(name, "at least 0", label.to_string()));
    labels.into_iter().map(label).collect()
}

fn wrong(name: &str, expected: &str, received: String) -> Error {
    Error::argument("ImageDataset::from_vision", name, expected, received)
}
