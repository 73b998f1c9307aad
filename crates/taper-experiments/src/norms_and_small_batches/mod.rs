//! Does batch normalization lose to a norm over each sample as the batch shrinks?

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use taper_core::{Activation, Schedule};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, SpecText};

use crate::data::{sources, split};
use crate::normalized::{Layers, Norm, NormalizedConfig, RELU_INIT, Training};

pub(crate) struct NormsAndSmallBatches;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    norm: Norm,
    layers: Layers,
    hidden: Vec<usize>,
    batch_size: usize,
    learning_rate: f64,
    steps: u64,
}

impl Experiment for NormsAndSmallBatches {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "norms_and_small_batches/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        let steps = NonZeroU64::new(settings.steps).ok_or("`steps` should be at least 1")?;
        let split = split(&settings.data, settings.train_fraction, context)?;
        let config = NormalizedConfig {
            layers: settings.layers,
            hidden: &settings.hidden,
            norm: settings.norm,
            activation: Activation::Relu,
            weight_init: RELU_INIT,
            learning_rate: settings.learning_rate,
            schedule: Schedule::Cosine { steps, min_factor: 0.0 },
        };
        Ok(Box::new(Training::new(&split, &config, settings.batch_size, settings.steps, context)?))
    }
}
