//! Does the mean absolute error learn through wrong labels that cross-entropy learns by heart?

use std::ops::ControlFlow;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};
use taper_losses::{
    ClassOptions, GeneralizedCrossEntropyOptions, LossOptions, Reduction, Target, cross_entropy,
    generalized_cross_entropy, mae,
};

use crate::classify::{Classifier, accuracy, one_hot, probabilities};
use crate::data::{sources, split};
use crate::mlp::MlpConfig;

pub(crate) struct MaeResistsLabelNoise;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    noise: f64,
    loss: Loss,
    q: f64,
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
    AbsoluteError,
    GeneralizedCrossEntropy,
}

impl Experiment for MaeResistsLabelNoise {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "mae_resists_label_noise/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// One classifier in training on noisy labels.
struct Training {
    classifier: Classifier,
    /// The images learned from, with the labels that they are learned with.
    train: (Tensor, Tensor),
    held_out: (Tensor, Tensor),
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let split = split.with_label_noise(settings.noise)?;
        let config = MlpConfig {
            hidden: &settings.hidden,
            learning_rate: settings.learning_rate,
            steps: settings.steps,
        };
        let classifier = Classifier::new(&split, &config, settings.batch_size, context)?;
        Ok(Self { classifier, train: split.train()?, held_out: split.held_out()?, settings })
    }

    fn held_out_accuracy(&self) -> taper_core::Result<f64> {
        accuracy(&self.classifier.logits(&self.held_out.0)?, &self.held_out.1)
    }

    /// The part of the training images that get the label they came with, be it right or wrong.
    fn fitted(&self) -> taper_core::Result<f64> {
        accuracy(&self.classifier.logits(&self.train.0)?, &self.train.1)
    }

    /// How far the loss of any held-out image, summed over all labels it could have, is from 2 (K - 1).
    fn symmetry_error(&self) -> taper_core::Result<f64> {
        let logits = self.classifier.logits(&self.held_out.0)?.to_dtype(DType::F64)?;
        let (images, classes) = logits.dims2()?;
        let mut sum = Tensor::zeros(images, DType::F64, logits.device())?;
        for class in 0..classes {
            let labels = Tensor::full(class as u32, images, logits.device())?;
            sum = (sum + losses(&self.settings, &logits, &labels)?)?;
        }
        let error = (sum - 2.0 * (classes as f64 - 1.0))?.abs()?;
        // Not candle's maximum, which would lose a NaN.
        let errors: Vec<f64> = error.to_vec1()?;
        Ok(errors.into_iter().fold(0.0, |largest, error| {
            if error > largest || error.is_nan() { error } else { largest }
        }))
    }
}

/// The loss of each sample (N). That of the absolute error is its sum over the classes, 2 (1 - p) for the
/// probability p of the label.
fn losses(settings: &Settings, logits: &Tensor, labels: &Tensor) -> taper_core::Result<Tensor> {
    let each = LossOptions { reduction: Reduction::None, ..Default::default() };
    let classes = ClassOptions { loss: each.clone(), ..Default::default() };
    let target = Target::Indices(labels);
    match settings.loss {
        Loss::CrossEntropy => cross_entropy(logits, target, &classes),
        Loss::GeneralizedCrossEntropy => {
            let options = GeneralizedCrossEntropyOptions { q: settings.q, classes };
            generalized_cross_entropy(logits, target, &options)
        }
        Loss::AbsoluteError => {
            Ok(mae(&probabilities(logits)?, &one_hot(labels, logits)?, &each)?.sum(1)?)
        }
    }
}

impl Arm for Training {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        if record.step().is_multiple_of(self.settings.evaluate_every) {
            record.metric("accuracy", self.held_out_accuracy()?);
            record.metric("fitted", self.fitted()?);
        }
        let settings = &self.settings;
        self.classifier.step(record.step(), |logits, labels| {
            Ok(losses(settings, logits, labels)?.mean_all()?)
        })?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let (accuracy, fitted) = (self.held_out_accuracy()?, self.fitted()?);
        record.metric("accuracy", accuracy);
        record.metric("fitted", fitted);
        record.measure("final_accuracy", accuracy);
        record.measure("fitted_labels", fitted);
        if self.settings.loss == Loss::AbsoluteError {
            record.measure("symmetry_error", self.symmetry_error()?);
        }
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
