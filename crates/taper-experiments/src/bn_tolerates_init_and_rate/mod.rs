//! Does batch normalization train from initial weights and at rates at which the same network without it does not?

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Activation, Initializer, Schedule, Snapshot, Stateful};
use taper_data::{Batches, DataName};
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};

use crate::data::{sources, split};
use crate::normalized::{Layers, Norm, Normalized, NormalizedConfig};

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
        Ok(Box::new(Training::new(&settings, context)?))
    }
}

/// One network in training: a cell of the grid.
struct Training {
    network: Normalized,
    batches: Batches,
    held_out: (Tensor, Tensor),
    steps: u64,
}

impl Training {
    fn new(settings: &Settings, context: &Context) -> Result<Self, BoxError> {
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
        Ok(Self {
            network: Normalized::new(&split, &config, context)?,
            batches: split.train_batches(settings.batch_size)?,
            held_out: split.held_out()?,
            steps: settings.steps,
        })
    }
}

impl Arm for Training {
    fn steps(&self) -> u64 {
        self.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        self.network.step(&self.batches.next_batch()?, record.step())?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        record.measure("final_accuracy", 1.0 - self.network.error(&self.held_out)?);
        Ok(())
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("network", &self.network)?;
        snapshot.put("batches", &self.batches)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("network", &mut self.network)?;
        snapshot.get("batches", &mut self.batches)
    }
}
