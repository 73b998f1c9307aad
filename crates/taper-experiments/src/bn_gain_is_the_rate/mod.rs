//! Is what batch normalization gains the larger rate that it allows?

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Activation, Schedule, Snapshot, Stateful};
use taper_data::{Batches, DataName};
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};

use crate::data::{sources, split};
use crate::matched_loss::MatchedLoss;
use crate::normalized::{Layers, Norm, Normalized, NormalizedConfig, RELU_INIT};

pub(crate) struct BnGainIsTheRate;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    norm: Norm,
    layers: Layers,
    hidden: Vec<usize>,
    batch_size: usize,
    /// The rate of one network, the same in all arms.
    small_rate: f64,
    /// The rate of the other one, the arm's own.
    learning_rate: f64,
    steps: u64,
    evaluate_every: u64,
    matched_loss: f64,
}

impl Experiment for BnGainIsTheRate {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "bn_gain_is_the_rate/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// The same network in training twice, on the same batches: at the small rate and at the arm's own.
struct Training {
    small: Candidate,
    own: Candidate,
    batches: Batches,
    train: (Tensor, Tensor),
    held_out: (Tensor, Tensor),
    settings: Settings,
}

struct Candidate {
    network: Normalized,
    matched: MatchedLoss,
    /// The latest held-out error.
    error: f64,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let candidate = |learning_rate| {
            let config = NormalizedConfig {
                layers: settings.layers,
                hidden: &settings.hidden,
                norm: settings.norm,
                activation: Activation::Relu,
                weight_init: RELU_INIT,
                learning_rate,
                schedule: Schedule::Constant,
            };
            let network = Normalized::new(&split, &config, context)?;
            let matched = MatchedLoss::new(&[settings.matched_loss]);
            Ok::<_, BoxError>(Candidate { network, matched, error: f64::NAN })
        };
        Ok(Self {
            small: candidate(settings.small_rate)?,
            own: candidate(settings.learning_rate)?,
            batches: split.train_batches(settings.batch_size)?,
            train: split.train()?,
            held_out: split.held_out()?,
            settings,
        })
    }

    fn evaluate(&mut self, record: &mut Record) -> Result<(), BoxError> {
        for (candidate, name) in [(&mut self.small, "small"), (&mut self.own, "own")] {
            let loss = candidate.network.loss(&self.train)?;
            candidate.error = candidate.network.error(&self.held_out)?;
            candidate.matched.observe(loss, candidate.error);
            record.metric(&format!("train_loss_{name}"), loss);
            record.metric(&format!("error_{name}"), candidate.error);
        }
        Ok(())
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
        let batch = self.batches.next_batch()?;
        self.small.network.step(&batch, record.step())?;
        self.own.network.step(&batch, record.step())?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        self.evaluate(record)?;
        let (small, own) = (&self.small, &self.own);
        record.measure("error_at_small_rate", small.error);
        record.measure("error_at_own_rate", own.error);
        record.measure("gain", small.error - own.error);
        let (small, own) = (small.matched.first(), own.matched.first());
        record.measure("matched_error_at_small_rate", small);
        record.measure("matched_error_at_own_rate", own);
        record.measure("matched_gain", small - own);
        Ok(())
    }
}

impl Stateful for Candidate {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("network", &self.network)?;
        snapshot.put("matched", &self.matched)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("network", &mut self.network)?;
        snapshot.get("matched", &mut self.matched)
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("small", &self.small)?;
        snapshot.put("own", &self.own)?;
        snapshot.put("batches", &self.batches)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("small", &mut self.small)?;
        snapshot.get("own", &mut self.own)?;
        snapshot.get("batches", &mut self.batches)
    }
}
