//! The data that experiments name in their specs, split by a run's seed.

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use taper_core::Result;
use taper_data::{
    Batches, BatchesConfig, ImageDataset, Pixels, digits, digits_card, stratified_split,
};
use taper_lab::{Context, DataSource, Role};

/// A data set, by the name that a spec gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DataName {
    Digits,
}

impl DataName {
    /// What the run's key and the report say of it.
    pub(crate) fn source(self) -> Result<DataSource> {
        let Self::Digits = self;
        let card = digits_card()?;
        Ok(DataSource {
            digest: digits()?.content_digest(),
            name: card.name,
            licence: card.licence,
            citation: card.citation,
        })
    }

    /// The run's training images and the ones that it is measured on.
    ///
    /// Each seed draws its own stratified split. A tuning run never sees its test part: it is measured
    /// on a validation part that is split off the training part by the same fraction.
    pub(crate) fn split(self, train_fraction: f64, context: &Context) -> Result<Split> {
        let Self::Digits = self;
        let data = digits()?;
        let mut stream = taper_core::stream(context.seed, "split");
        let part = stratified_split(data.labels(), &data.indices(), train_fraction, &mut stream)?;
        let part = match context.role {
            Role::Report => part,
            Role::Tune => {
                let mut stream = stream.child("validation");
                stratified_split(data.labels(), &part.train, train_fraction, &mut stream)?
            }
        };
        let tensors =
            |indices: &[usize]| data.tensors(indices, Pixels::Flat, DType::F32, &context.device);
        Ok(Split {
            train: tensors(&part.train)?,
            held_out: tensors(&part.test)?,
            train_indices: part.train,
            device: context.device.clone(),
            data,
        })
    }
}

/// Images as rows of pixels in [0, 1], and their labels.
pub(crate) struct Split {
    pub(crate) train: (Tensor, Tensor),
    pub(crate) held_out: (Tensor, Tensor),
    train_indices: Vec<usize>,
    device: Device,
    data: ImageDataset,
}

impl Split {
    /// Pixels an image.
    pub(crate) fn features(&self) -> usize {
        self.data.shape().iter().product()
    }

    pub(crate) fn classes(&self) -> usize {
        self.data.classes() as usize
    }

    /// Shuffled batches of the training images, without end; each has `batch_size` images.
    pub(crate) fn train_batches(&self, batch_size: usize, seed: u64) -> Result<Batches> {
        let config = BatchesConfig { batch_size, drop_last: true, ..Default::default() };
        let shuffle = taper_core::stream(seed, "shuffle");
        Batches::new(&self.data, &self.train_indices, config, shuffle, &self.device)
    }
}
