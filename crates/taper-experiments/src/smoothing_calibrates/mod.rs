//! Does label smoothing make a classifier's probabilities mean what they say?

mod calibration;

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};
use taper_losses::{ClassOptions, Target, cross_entropy};

use crate::classify::{Classifier, accuracy};
use crate::data::{sources, split};
use crate::mlp::MlpConfig;
use calibration::Calibration;

pub(crate) struct SmoothingCalibrates;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    labels: Labels,
    smoothing: f64,
    bins: usize,
    hidden: Vec<usize>,
    batch_size: usize,
    learning_rate: f64,
    steps: u64,
    evaluate_every: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Labels {
    Hard,
    Smoothed,
}

impl Experiment for SmoothingCalibrates {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "smoothing_calibrates/spec.toml", text: include_str!("spec.toml") };

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
    options: ClassOptions,
    held_out: (Tensor, Tensor),
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        if settings.bins == 0 {
            return Err("`bins` should be at least 1".into());
        }
        let split = split(&settings.data, settings.train_fraction, context)?;
        let config = MlpConfig {
            hidden: &settings.hidden,
            learning_rate: settings.learning_rate,
            steps: settings.steps,
        };
        let label_smoothing = match settings.labels {
            Labels::Hard => 0.0,
            Labels::Smoothed => settings.smoothing,
        };
        Ok(Self {
            classifier: Classifier::new(&split, &config, settings.batch_size, context)?,
            options: ClassOptions { label_smoothing, ..Default::default() },
            held_out: split.held_out()?,
            settings,
        })
    }

    fn evaluate(&self, record: &mut Record) -> taper_core::Result<(Calibration, f64)> {
        let (images, labels) = &self.held_out;
        let logits = self.classifier.logits(images)?;
        let calibration = Calibration::new(&logits, labels, self.settings.bins)?;
        let accuracy = accuracy(&logits, labels)?;
        record.metric("ece", calibration.ece);
        record.metric("confidence_less_accuracy", calibration.confidence - accuracy);
        Ok((calibration, accuracy))
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
        let options = &self.options;
        self.classifier.step(record.step(), |logits, labels| {
            cross_entropy(logits, Target::Indices(labels), options)
        })?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let (calibration, accuracy) = self.evaluate(record)?;
        record.measure("ece", calibration.ece);
        record.measure("nll", calibration.nll);
        record.measure("brier", calibration.brier);
        record.measure("final_accuracy", accuracy);
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
