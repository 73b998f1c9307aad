//! Does the squared error classify as well as cross-entropy?

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};
use taper_losses::{ClassOptions, LossOptions, Target, cross_entropy, mse};

use crate::classify::{Classifier, accuracy, one_hot, probabilities};
use crate::data::{sources, split};
use crate::mlp::MlpConfig;

pub(crate) struct MseCanClassify;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    loss: Loss,
    hidden: Vec<usize>,
    batch_size: usize,
    learning_rate: f64,
    steps: u64,
    evaluate_every: u64,
    target_accuracy: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Loss {
    CrossEntropy,
    MseOfLogits,
    MseOfProbabilities,
}

impl Loss {
    /// Of logits (N, C) and labels (N); the squared error is against 1 at the label's class and 0 elsewhere.
    fn of(self, logits: &Tensor, labels: &Tensor) -> taper_core::Result<Tensor> {
        let options = LossOptions::default();
        match self {
            Self::CrossEntropy => {
                cross_entropy(logits, Target::Indices(labels), &ClassOptions::default())
            }
            Self::MseOfLogits => mse(logits, &one_hot(labels, logits)?, &options),
            Self::MseOfProbabilities => {
                mse(&probabilities(logits)?, &one_hot(labels, logits)?, &options)
            }
        }
    }
}

impl Experiment for MseCanClassify {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "mse_can_classify/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// One classifier in training.
struct Training {
    classifier: Classifier,
    held_out: (Tensor, Tensor),
    reached: Option<u64>,
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let config = MlpConfig {
            hidden: &settings.hidden,
            learning_rate: settings.learning_rate,
            steps: settings.steps,
        };
        let classifier = Classifier::new(&split, &config, settings.batch_size, context)?;
        Ok(Self { classifier, held_out: split.held_out()?, reached: None, settings })
    }

    fn evaluate(&mut self, record: &mut Record) -> Result<f64, BoxError> {
        let accuracy = accuracy(&self.classifier.logits(&self.held_out.0)?, &self.held_out.1)?;
        record.metric("accuracy", accuracy);
        if self.reached.is_none() && accuracy >= self.settings.target_accuracy {
            self.reached = Some(record.step());
        }
        Ok(accuracy)
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
        let loss = self.settings.loss;
        self.classifier.step(record.step(), |logits, labels| loss.of(logits, labels))?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let accuracy = self.evaluate(record)?;
        record.measure("final_accuracy", accuracy);
        match self.reached {
            Some(step) => record.measure("steps_to_target", step as f64),
            None => record.censored("steps_to_target", self.settings.steps as f64),
        }
        Ok(())
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("classifier", &self.classifier)?;
        snapshot.put_u64("reached", self.reached.unwrap_or(u64::MAX));
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("classifier", &mut self.classifier)?;
        self.reached = Some(snapshot.get_u64("reached")?).filter(|step| *step != u64::MAX);
        Ok(())
    }
}
