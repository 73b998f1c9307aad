//! The data that experiments name in their specs, split by a run's seed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Tensor};
use taper_data::{
    Batches, BatchesConfig, DataName, DataStore, ImageDataset, Imbalance, LabelNoise, Pixels,
    Result, digits, imbalanced, noisy_labels, stratified_split,
};
use taper_lab::{Context, DataSource, Role};

/// What a run's key and the report say of a data set: one entry for each part.
pub(crate) fn sources(name: &DataName) -> Result<Vec<DataSource>> {
    let card = name.card()?;
    let mut origin = String::new();
    let digests: Vec<(String, String)> = match card.hub {
        None => vec![(name.to_string(), digits()?.content_digest())],
        Some(_) => {
            let record = DataStore::of_user()?.require(name)?;
            if let Some(variant) = name.variant() {
                origin = format!(
                    "`{variant}`, a variant with other images or labels, from {}; the original: ",
                    record.source
                );
            }
            // What is damaged is said now, not by each run.
            for part in &record.parts {
                load(name, &part.name)?;
            }
            let parts = record.parts.into_iter();
            parts.map(|part| (format!("{name}/{}", part.name), part.content_digest)).collect()
        }
    };
    let source = |(name, digest)| DataSource {
        name,
        digest,
        licence: card.licence.clone(),
        citation: format!("{origin}{}", card.citation),
    };
    Ok(digests.into_iter().map(source).collect())
}

/// The run's training images and the ones that it is measured on.
///
/// Where its makers set a test part apart, it is the one. Of other data each seed draws its own stratified split, of which
/// `train_fraction` is trained on. A tuning run never sees the test part: it is measured on a validation part that is
/// split off the training part by the same fraction.
pub(crate) fn split(name: &DataName, train_fraction: f64, context: &Context) -> Result<Split> {
    let mut stream = taper_core::stream(context.seed, "split");
    let given = name.card()?.parts.iter().any(|part| part.name == "test");
    let (data, mut train, held_out) = if given {
        let data = load(name, "train")?;
        let test = load(name, "test")?;
        let (train, all) = (data.indices(), test.indices());
        (data, train, (test, all))
    } else {
        let data = load(name, "all")?;
        let part = stratified_split(data.labels(), &data.indices(), train_fraction, &mut stream)?;
        (data.clone(), part.train, (data, part.test))
    };
    let held_out = match context.role {
        Role::Report => held_out,
        Role::Tune => {
            let mut stream = stream.child("validation");
            let part = stratified_split(data.labels(), &train, train_fraction, &mut stream)?;
            train = part.train;
            (data.clone(), part.test)
        }
    };
    Ok(Split { data, train, held_out, context: context.clone() })
}

/// Images of a data set, in memory once for all runs of this process.
fn load(name: &DataName, part: &str) -> Result<ImageDataset> {
    static LOADED: Mutex<BTreeMap<(DataName, String), ImageDataset>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (name.clone(), part.to_owned());
    if let Some(dataset) = loaded.get(&key) {
        return Ok(dataset.clone());
    }
    let dataset = DataStore::of_user()?.load(name, part)?;
    loaded.insert(key, dataset.clone());
    Ok(dataset)
}

/// Which images are learned from, and which measured on.
pub(crate) struct Split {
    data: ImageDataset,
    train: Vec<usize>,
    held_out: (ImageDataset, Vec<usize>),
    context: Context,
}

impl Split {
    /// The same split, with each label a wrong one with this probability.
    ///
    /// The test part keeps its labels. A validation part does not: whoever has noisy labels chooses settings by them.
    pub(crate) fn with_label_noise(mut self, rate: f64) -> Result<Self> {
        let noise = LabelNoise::Symmetric { rate };
        let mut stream = taper_core::stream(self.context.seed, "label noise");
        let data = &self.data;
        let labels = noisy_labels(data.labels(), data.classes(), &noise, &mut stream)?;
        let noisy = ImageDataset::new(
            data.images().to_vec(),
            data.shape(),
            data.max_value(),
            labels,
            data.classes(),
        )?;
        if self.context.role == Role::Tune {
            self.held_out.0 = noisy.clone();
        }
        self.data = noisy;
        Ok(self)
    }

    /// The same split, with ever fewer training images from the first class to the last, which has `ratio` times fewer.
    ///
    /// What is held out stays as balanced as it was.
    pub(crate) fn long_tailed(mut self, ratio: f64) -> Result<Self> {
        let stream = taper_core::stream(self.context.seed, "imbalance");
        let tail = Imbalance::LongTail { ratio };
        self.train = imbalanced(self.data.labels(), &self.train, tail, &stream)?;
        Ok(self)
    }

    /// How many training images each class has.
    pub(crate) fn train_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes()];
        for index in &self.train {
            counts[self.data.labels()[*index] as usize] += 1;
        }
        counts
    }

    /// The training images as rows of pixels in [0, 1], and their labels.
    pub(crate) fn train(&self) -> Result<(Tensor, Tensor)> {
        self.tensors(&self.data, &self.train)
    }

    /// The held-out images as rows of pixels in [0, 1], and their labels.
    pub(crate) fn held_out(&self) -> Result<(Tensor, Tensor)> {
        self.tensors(&self.held_out.0, &self.held_out.1)
    }

    fn tensors(&self, data: &ImageDataset, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        Ok(data.tensors(indices, Pixels::Flat, DType::F32, &self.context.device)?)
    }

    /// Channels, height and width of an image.
    pub(crate) fn shape(&self) -> [usize; 3] {
        self.data.shape()
    }

    /// Pixels an image.
    pub(crate) fn features(&self) -> usize {
        self.data.shape().iter().product()
    }

    pub(crate) fn classes(&self) -> usize {
        self.data.classes() as usize
    }

    /// Shuffled batches of the training images, without end; each has `batch_size` images.
    pub(crate) fn train_batches(&self, batch_size: usize) -> Result<Batches> {
        let config = BatchesConfig { batch_size, drop_last: true, ..Default::default() };
        let shuffle = taper_core::stream(self.context.seed, "shuffle");
        Ok(Batches::new(&self.data, &self.train, config, shuffle, &self.context.device)?)
    }

    /// Some batches of the training images that stay the same, drawn without replacement; fewer where images run out.
    pub(crate) fn probe_batches(
        &self,
        batch_size: usize,
        count: usize,
    ) -> Result<Vec<(Tensor, Tensor)>> {
        let mut order = self.train.clone();
        taper_core::stream(self.context.seed, "probe").shuffle(&mut order);
        let batches = order.chunks_exact(batch_size.max(1)).take(count);
        batches.map(|indices| self.tensors(&self.data, indices)).collect()
    }
}
