//! Does batch normalization give a lower test error at the same training loss?

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Activation, Schedule, Snapshot, Stateful};
use taper_data::{Batches, DataName};
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};

use crate::data::{sources, split};
use crate::matched_loss::MatchedLoss;
use crate::normalized::{Layers, Norm, Normalized, NormalizedConfig, RELU_INIT};

pub(crate) struct BnGeneralizes;

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
    evaluate_every: u64,
    matched_losses: Vec<f64>,
}

impl Experiment for BnGeneralizes {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "bn_generalizes/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// One network in training.
struct Training {
    network: Normalized,
    batches: Batches,
    train: (Tensor, Tensor),
    held_out: (Tensor, Tensor),
    matched: MatchedLoss,
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let config = NormalizedConfig {
            layers: settings.layers,
            hidden: &settings.hidden,
            norm: settings.norm,
            activation: Activation::Relu,
            weight_init: RELU_INIT,
            learning_rate: settings.learning_rate,
            schedule: Schedule::Constant,
        };
        Ok(Self {
            network: Normalized::new(&split, &config, context)?,
            batches: split.train_batches(settings.batch_size)?,
            train: split.train()?,
            held_out: split.held_out()?,
            matched: MatchedLoss::new(&settings.matched_losses),
            settings,
        })
    }

    fn evaluate(&mut self, record: &mut Record) -> Result<f64, BoxError> {
        let (loss, error) = (self.network.loss(&self.train)?, self.network.error(&self.held_out)?);
        record.metric("train_loss", loss);
        record.metric("error", error);
        self.matched.observe(loss, error);
        Ok(error)
    }
}

impl Arm for Training {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        if record.step().is_multiple_of(self.settings.evaluate_every) {
            self.evaluate(record)?;
        }
        self.network.step(&self.batches.next_batch()?, record.step())?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let error = self.evaluate(record)?;
        record.measure("final_error", error);
        self.matched.measure(record);
        Ok(())
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("network", &self.network)?;
        snapshot.put("batches", &self.batches)?;
        snapshot.put("matched", &self.matched)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("network", &mut self.network)?;
        snapshot.get("batches", &mut self.batches)?;
        snapshot.get("matched", &mut self.matched)
    }
}
