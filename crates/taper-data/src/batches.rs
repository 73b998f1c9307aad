//! Shuffled batches that can be stopped and taken up again.

use candle_core::{DType, Device, Tensor};
use taper_core::{Error, Result, Snapshot, Stateful, Stream};

use crate::augmentation::{augmented, shape_after};
use crate::{Augmentation, ImageDataset, Pixels};

/// How [`Batches`] cuts and shapes its batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchesConfig {
    /// Images in a batch.
    pub batch_size: usize,
    /// Whether what is left at the end of an epoch, too few for a batch, is left out.
    pub drop_last: bool,
    /// The shape of the images.
    pub pixels: Pixels,
    /// Their type: f64, f32, f16 or bf16.
    pub dtype: DType,
    /// What changes each image at random, one after the other, anew each epoch.
    pub augmentations: Vec<Augmentation>,
}

impl Default for BatchesConfig {
    /// 32 flat f32 images a batch, as they are; the last batch of an epoch may be smaller.
    fn default() -> Self {
        Self {
            batch_size: 32,
            drop_last: false,
            pixels: Pixels::Flat,
            dtype: DType::F32,
            augmentations: Vec::new(),
        }
    }
}

/// Batches of a part of a data set, in a new random order each epoch, without end.
///
/// Its [`Stateful`] state is the stream, the number and the order of the present epoch and the place in it: a restored
/// value goes on with the same batches. It restores into one built for the same indices.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::Device;
/// use taper_data::{Batches, BatchesConfig, ImageDataset};
///
/// let dataset = ImageDataset::new(vec![0, 1, 2, 3, 4], [1, 1, 1], 4, vec![0; 5], 1)?;
/// let config = BatchesConfig { batch_size: 2, ..Default::default() };
/// let stream = taper_core::stream(7, "shuffle");
/// let mut batches = Batches::new(&dataset, &dataset.indices(), config, stream, &Device::Cpu)?;
/// let sizes = batches
///     .epoch()
///     .map(|batch| Ok(batch?.1.elem_count()))
///     .collect::<taper_core::Result<Vec<_>>>()?;
/// assert_eq!(sizes, [2, 2, 1]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Batches {
    dataset: ImageDataset,
    config: BatchesConfig,
    device: Device,
    stream: Stream,
    order: Vec<usize>,
    /// The number of the present epoch, from 1 on; 0 before the first.
    epoch: u64,
    /// How many of `order` the present epoch has used.
    place: usize,
}

impl Batches {
    /// Batches of the images at `indices`, whose tensors are made on `device`.
    ///
    /// An index that comes twice is drawn twice an epoch.
    pub fn new(
        dataset: &ImageDataset,
        indices: &[usize],
        config: BatchesConfig,
        stream: Stream,
        device: &Device,
    ) -> Result<Self> {
        dataset.check_indices("Batches::new", indices)?;
        shape_after(&config.augmentations, dataset.shape())?;
        let n = indices.len();
        if config.batch_size == 0 || (config.drop_last && config.batch_size > n) {
            let expected = match config.drop_last {
                true => {
                    format!("from 1 to {n}, the number of indices, where the last batch is dropped")
                }
                false => "at least 1".to_owned(),
            };
            let batch_size = config.batch_size;
            return Err(Error::argument("Batches::new", "batch_size", expected, batch_size));
        }
        Ok(Self {
            dataset: dataset.clone(),
            config,
            device: device.clone(),
            stream,
            order: indices.to_vec(),
            epoch: 0,
            place: n,
        })
    }

    /// The next batch: images in [0, 1] and their labels as u32.
    pub fn next_batch(&mut self) -> Result<(Tensor, Tensor)> {
        self.begin_epoch();
        let end = self.end_of_batch();
        let (dataset, config, device) = (&self.dataset, &self.config, &self.device);
        let (pixels, dtype) = (config.pixels, config.dtype);
        let indices = &self.order[self.place..end];
        let batch = if config.augmentations.is_empty() {
            dataset.tensors(indices, pixels, dtype, device)?
        } else {
            let stream = self.stream.child(&self.epoch.to_string());
            let bytes = augmented(dataset, indices, &config.augmentations, &stream);
            let shape = shape_after(&config.augmentations, dataset.shape())?;
            let images = bytes.chunks_exact(shape.iter().product());
            let images = dataset.scaled(images, shape, pixels, dtype, device)?;
            (images, dataset.labels_at(indices, device)?)
        };
        self.place = end;
        Ok(batch)
    }

    /// Goes on as [`Self::next_batch`] does, without the batch.
    pub(crate) fn skip_batch(&mut self) {
        self.begin_epoch();
        self.place = self.end_of_batch();
    }

    /// Draws a new order where the last epoch has ended.
    fn begin_epoch(&mut self) {
        if self.left() == 0 {
            self.stream.shuffle(&mut self.order);
            self.epoch += 1;
            self.place = 0;
        }
    }

    fn end_of_batch(&self) -> usize {
        self.order.len().min(self.place + self.config.batch_size)
    }

    /// The batches from here to the end of the epoch: a whole one where the last has just ended.
    pub fn epoch(&mut self) -> impl Iterator<Item = Result<(Tensor, Tensor)>> {
        (0..self.batches_to_come()).map(|_| self.next_batch())
    }

    /// How many batches [`Self::epoch`] has.
    pub(crate) fn batches_to_come(&self) -> usize {
        match self.left() {
            0 => self.batches_per_epoch(),
            left => left,
        }
    }

    /// How many batches an epoch has.
    pub fn batches_per_epoch(&self) -> usize {
        self.batches_of(self.order.len())
    }

    /// How many batches the present epoch still has.
    fn left(&self) -> usize {
        self.batches_of(self.order.len() - self.place)
    }

    fn batches_of(&self, images: usize) -> usize {
        match self.config.drop_last {
            true => images / self.config.batch_size,
            false => images.div_ceil(self.config.batch_size),
        }
    }
}

impl Stateful for Batches {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put("stream", &self.stream)?;
        let order: Vec<i64> = self.order.iter().map(|index| *index as i64).collect();
        let order = Tensor::from_vec(order, self.order.len(), &Device::Cpu)?;
        snapshot.put_tensor("order", &order);
        snapshot.put_u64("epoch", self.epoch);
        snapshot.put_u64("place", self.place as u64);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let saved = snapshot.get_tensor("order")?.to_vec1::<i64>();
        let saved = saved.map_err(|error| Error::state("order", error.to_string()))?;
        let order: Vec<usize> = saved.into_iter().map(|index| index as usize).collect();
        let same_indices = {
            let (mut ours, mut theirs) = (self.order.clone(), order.clone());
            ours.sort_unstable();
            theirs.sort_unstable();
            ours == theirs
        };
        if !same_indices {
            let reason = "expected the indices these batches were built for, found others";
            return Err(Error::state("order", reason));
        }
        let place = snapshot.get_u64("place")?;
        let n = order.len();
        let place = usize::try_from(place)
            .ok()
            .filter(|place| *place <= n)
            .ok_or_else(|| Error::state("place", format!("expected at most {n}, found {place}")))?;
        let epoch = snapshot.get_u64("epoch")?;
        snapshot.get("stream", &mut self.stream)?;
        self.order = order;
        self.epoch = epoch;
        self.place = place;
        Ok(())
    }
}
