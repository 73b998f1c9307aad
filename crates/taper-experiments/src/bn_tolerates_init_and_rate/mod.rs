//! Does batch normalization train from initial weights and at rates at which the same network without it does not?

use serde::{Deserialize, Serialize};
use taper_core::{Activation, Initializer, Schedule};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, SpecText};

use crate::data::{sources, split};
use crate::normalized::{Layers, Norm, NormalizedConfig, Training};

pub(crate) struct BnToleratesInitAndRate;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    norm: Norm,
    hidden: Vec<usize>,
    batch_size: usize,
    init_std: f64,
    learning_rate: f64,
    steps: u64,
}

impl Experiment for BnToleratesInitAndRate {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "bn_tolerates_init_and_rate/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let config = NormalizedConfig {
            layers: Layers::Dense,
            hidden: &settings.hidden,
            norm: settings.norm,
            activation: Activation::Sigmoid,
            weight_init: Initializer::Normal { mean: 0.0, std: settings.init_std },
            learning_rate: settings.learning_rate,
            schedule: Schedule::Constant,
        };
        let (batch_size, steps) = (settings.batch_size, settings.steps);
        Ok(Box::new(Training::new(&split, &config, batch_size, steps, context)?))
    }
}
