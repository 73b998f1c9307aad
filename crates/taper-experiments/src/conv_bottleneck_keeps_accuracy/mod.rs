//! Does a bottleneck of 1x1 convolutions classify as well as full 3x3 convolutions, for a part of the products?

use std::ops::ControlFlow;

use candle_core::DType;
use serde::{Deserialize, Serialize};
use taper_bottleneck::{meta, summary};
use taper_core::{Snapshot, Stateful};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};
use taper_norm::NormConfig;

use crate::conv_net::{Block, BlockKind, ConvNet, ConvNetConfig};
use crate::data::{sources, split};
use crate::trained::{Trained, TrainedConfig};

pub(crate) struct ConvBottleneckKeepsAccuracy;

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
    /// The channels of the block whose weights are counted.
    counted_channels: usize,
    /// How many it has, by hand.
    expected_weights: u64,
}

impl Experiment for ConvBottleneckKeepsAccuracy {
    type Settings = Settings;
    const SPEC: SpecText = SpecText {
        file: "conv_bottleneck_keeps_accuracy/spec.toml",
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
        let trained = Trained::new(&split, training, context, build)?;
        Ok(Box::new(Counting { trained, settings }))
    }
}

/// A network in training, and a larger block that is only counted.
struct Counting {
    trained: Trained<ConvNet>,
    settings: Settings,
}

impl Counting {
    /// The weights of the convolutions of a block: at stride 1 a place costs each of them once.
    fn weights(&self) -> Result<u64, BoxError> {
        let &Settings { counted_channels: channels, block, norm, .. } = &self.settings;
        let block = Block::new(channels, block, norm, &meta(DType::F32))?;
        Ok(summary(&block, &[1, channels, 1, 1])?.total.cost.macs)
    }
}

impl Arm for Counting {
    fn steps(&self) -> u64 {
        self.trained.steps()
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        self.trained.step(record)
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let weights = self.weights()? as f64;
        record.measure("block_weights", weights);
        record.measure("block_weights_off", weights - self.settings.expected_weights as f64);
        self.trained.measure(record)
    }
}

impl Stateful for Counting {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        self.trained.save(snapshot)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        self.trained.restore(snapshot)
    }
}
