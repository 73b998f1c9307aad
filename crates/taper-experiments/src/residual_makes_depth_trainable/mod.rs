//! Can a deep network be trained with shortcuts where it cannot be without?

use serde::{Deserialize, Serialize};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, SpecText};
use taper_norm::NormConfig;

use crate::conv_net::{BlockKind, ConvNet, ConvNetConfig};
use crate::data::{sources, split};
use crate::trained::{Trained, TrainedConfig};

pub(crate) struct ResidualMakesDepthTrainable;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    block: BlockKind,
    norm: NormConfig,
    depth: usize,
    channels: usize,
    stride: usize,
    batch_size: usize,
    learning_rate: f64,
    momentum: f64,
    steps: u64,
    evaluate_every: u64,
}

impl Experiment for ResidualMakesDepthTrainable {
    type Settings = Settings;
    const SPEC: SpecText = SpecText {
        file: "residual_makes_depth_trainable/spec.toml",
        text: include_str!("spec.toml"),
    };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let network = ConvNetConfig {
            image: split.shape(),
            classes: split.classes(),
            channels: settings.channels,
            stride: settings.stride,
            depth: settings.depth,
            block: settings.block,
            norm: settings.norm,
        };
        let training = TrainedConfig {
            batch_size: settings.batch_size,
            learning_rate: settings.learning_rate,
            momentum: settings.momentum,
            steps: settings.steps,
            evaluate_every: settings.evaluate_every,
        };
        let build = |vb| ConvNet::new(&network, &vb);
        Ok(Box::new(Trained::new(&split, training, context, build)?))
    }
}
