//! Does the focal loss help where some classes have a hundred times fewer images than others?

mod f1;

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText, stats};
use taper_losses::{ClassOptions, FocalOptions, Target, cross_entropy, focal};

use crate::classify::Classifier;
use crate::data::{Split, sources, split};
use crate::mlp::MlpConfig;
use f1::f1_scores;

pub(crate) struct FocalHelpsImbalance;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    imbalance: f64,
    loss: Loss,
    weights: Weights,
    gamma: f64,
    hidden: Vec<usize>,
    batch_size: usize,
    learning_rate: f64,
    steps: u64,
    evaluate_every: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Loss {
    CrossEntropy,
    Focal,
}

/// What each class counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Weights {
    Equal,
    /// In inverse proportion to its training images.
    Inverse,
}

impl Experiment for FocalHelpsImbalance {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "focal_helps_imbalance/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// One classifier in training on imbalanced images.
struct Training {
    classifier: Classifier,
    /// Cross-entropy is the focal loss with a gamma of 0, but is asked for by its own name.
    options: FocalOptions,
    held_out: (Tensor, Tensor),
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let split = split.long_tailed(settings.imbalance)?;
        let config = MlpConfig {
            hidden: &settings.hidden,
            learning_rate: settings.learning_rate,
            steps: settings.steps,
        };
        let class_weights = match settings.weights {
            Weights::Equal => None,
            Weights::Inverse => Some(inverse_weights(&split, context)?),
        };
        let classes = ClassOptions { class_weights, ..Default::default() };
        Ok(Self {
            classifier: Classifier::new(&split, &config, settings.batch_size, context)?,
            options: FocalOptions { gamma: settings.gamma, classes },
            held_out: split.held_out()?,
            settings,
        })
    }

    /// The F1 score of each class on the held-out images.
    fn scores(&self) -> taper_core::Result<Vec<f64>> {
        let (images, labels) = &self.held_out;
        let logits = self.classifier.logits(images)?;
        let predicted: Vec<u32> = logits.argmax(1)?.to_vec1()?;
        Ok(f1_scores(&predicted, &labels.to_vec1::<u32>()?, logits.dim(1)?))
    }
}

/// Weights that give each class the same total: images / (classes · images of the class).
fn inverse_weights(split: &Split, context: &Context) -> candle_core::Result<Tensor> {
    let counts = split.train_counts();
    let all = counts.iter().sum::<usize>() as f32;
    let weight = |count: &usize| all / (counts.len() as f32 * (*count).max(1) as f32);
    let weights: Vec<f32> = counts.iter().map(weight).collect();
    Tensor::new(weights, &context.device)
}

impl Arm for Training {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        if record.step().is_multiple_of(self.settings.evaluate_every) {
            record.metric("macro_f1", stats::mean(&self.scores()?));
        }
        let (loss, options) = (self.settings.loss, &self.options);
        self.classifier.step(record.step(), |logits, labels| match loss {
            Loss::CrossEntropy => cross_entropy(logits, Target::Indices(labels), &options.classes),
            Loss::Focal => focal(logits, Target::Indices(labels), options),
        })?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let scores = self.scores()?;
        record.metric("macro_f1", stats::mean(&scores));
        record.measure("macro_f1", stats::mean(&scores));
        // The rare half of the classes, which come last.
        record.measure("rare_f1", stats::mean(&scores[scores.len() / 2..]));
        Ok(())
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("classifier", &self.classifier)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("classifier", &mut self.classifier)
    }
}
