//! Does batch normalization make a sigmoid network converge in fewer steps?

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};
use taper_norm::Drift;

use crate::classify::accuracy;
use crate::data::{sources, split};
use crate::sigmoid_net::{self, Pass, SigmoidNet, SigmoidNetConfig};

pub(crate) struct BnConvergesFaster;

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
    evaluate_every: u64,
    target_accuracy: f64,
}

/// What stands between a hidden layer's product and its sigmoid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Norm {
    None,
    Batch,
}

impl Experiment for BnConvergesFaster {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "bn_converges_faster/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// One network in training.
struct Training {
    network: SigmoidNet,
    held_out: (Tensor, Tensor),
    drift: Drift,
    reached: Option<u64>,
    accuracy: f64,
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let config = SigmoidNetConfig {
            hidden: &settings.hidden,
            norm: match settings.norm {
                Norm::None => sigmoid_net::Norm::None,
                Norm::Batch => sigmoid_net::Norm::Batch,
            },
            init_std: settings.init_std,
            learning_rate: settings.learning_rate,
            batch_size: settings.batch_size,
        };
        let network = SigmoidNet::new(&split, &config, context)?;
        let (held_out, drift) = (split.held_out()?, Drift::default());
        Ok(Self { network, held_out, drift, reached: None, accuracy: 0.0, settings })
    }

    /// Accuracy and the last hidden layer's inputs on the held-out images.
    fn evaluate(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let (images, labels) = &self.held_out;
        let output = self.network.forward(images, Pass::Evaluate)?;
        self.accuracy = accuracy(&output.logits, labels)?;
        record.metric("accuracy", self.accuracy);
        if self.reached.is_none() && self.accuracy >= self.settings.target_accuracy {
            self.reached = Some(record.step());
        }
        // The report shows the first unit.
        if let Some([low, middle, high]) = self.drift.observe(output.last_hidden_input())?.first() {
            record.metric("p15", *low);
            record.metric("p50", *middle);
            record.metric("p85", *high);
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
        self.network.step()?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        self.evaluate(record)?;
        match self.reached {
            Some(step) => record.measure("steps_to_target", step as f64),
            None => record.censored("steps_to_target", self.settings.steps as f64),
        }
        record.measure("final_accuracy", self.accuracy);
        record.measure("median_drift", self.drift.median());
        Ok(())
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("network", &self.network)?;
        snapshot.put("drift", &self.drift)?;
        snapshot.put_u64("reached", self.reached.unwrap_or(u64::MAX));
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("network", &mut self.network)?;
        snapshot.get("drift", &mut self.drift)?;
        self.reached = Some(snapshot.get_u64("reached")?).filter(|step| *step != u64::MAX);
        Ok(())
    }
}
