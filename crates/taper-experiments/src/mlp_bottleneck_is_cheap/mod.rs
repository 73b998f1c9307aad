//! Is a bottleneck of fully connected layers as good as layers of full width, for a part of their weights?

mod points_net;

use std::ops::ControlFlow;

use candle_core::{DType, Module, Tensor};
use serde::{Deserialize, Serialize};
use taper_bottleneck::{Pointwise, meta, summary};
use taper_core::{Activation, Snapshot, Stateful, Stream};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};

use self::points_net::{Block, BlockKind, PointsNet, PointsNetConfig};
use crate::data::{sources, split};
use crate::trained::{Trained, TrainedConfig};

pub(crate) struct MlpBottleneckIsCheap;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    block: BlockKind,
    /// Rows and columns of the part of an image that is one point.
    patch: usize,
    channels: usize,
    depth: usize,
    batch_size: usize,
    learning_rate: f64,
    momentum: f64,
    steps: u64,
    evaluate_every: u64,
    /// The channels of the block whose parameters are counted.
    counted_channels: usize,
    /// How many it has, by hand.
    expected_parameters: u64,
}

impl Experiment for MlpBottleneckIsCheap {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "mlp_bottleneck_is_cheap/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let network = PointsNetConfig {
            image: split.shape(),
            classes: split.classes(),
            patch: settings.patch,
            channels: settings.channels,
            depth: settings.depth,
            block: settings.block,
        };
        let training = TrainedConfig {
            batch_size: settings.batch_size,
            learning_rate: settings.learning_rate,
            momentum: settings.momentum,
            steps: settings.steps,
            evaluate_every: settings.evaluate_every,
        };
        let build = |vb| PointsNet::new(&network, &vb);
        let trained = Trained::new(&split, training, context, build)?;
        let order = taper_core::stream(context.seed, "order of points");
        Ok(Box::new(Checked { trained, order, settings }))
    }
}

/// A network in training, whose first block is then held against what it should be.
struct Checked {
    trained: Trained<PointsNet>,
    order: Stream,
    settings: Settings,
}

impl Checked {
    /// The points of the held-out images, as the first block gets them.
    fn points(&self) -> candle_core::Result<Tensor> {
        Ok(self.trained.network().points(&self.trained.held_out().0)?.detach())
    }

    /// How far the block is from the same weights as 1x1 convolutions, relative to the largest output.
    fn against_convolutions(&self, block: &Block, x: &Tensor) -> Result<f64, BoxError> {
        let parameters = self.trained.parameters().all();
        let of = |name: String| {
            let found = parameters.iter().find(|(other, _)| *other == name);
            found.map(|(_, variable)| variable.as_tensor().clone())
        };
        // (batch, n, c) to (batch, c, n), the order of the axes of an image.
        let mut y = x.transpose(1, 2)?.contiguous()?;
        for at in 1.. {
            let place = format!("blocks.0.fc{at}");
            let Some(weight) = of(format!("{place}.weight")) else { break };
            let bias = of(format!("{place}.bias"));
            y = Pointwise::new(weight, bias, Activation::Relu)?.forward(&y)?;
        }
        let y = (y.transpose(1, 2)? + x)?;
        Ok(relative_distance(&block.forward(x)?, &y)?)
    }

    /// How far the block of permuted points is from the permuted block, relative to the largest output.
    fn against_permutation(&self, block: &Block, x: &Tensor) -> Result<f64, BoxError> {
        let mut order: Vec<u32> = (0..x.dim(1)? as u32).collect();
        self.order.clone().shuffle(&mut order);
        let order = Tensor::new(order, x.device())?;
        let permuted = block.forward(&x.index_select(&order, 1)?)?;
        Ok(relative_distance(&permuted, &block.forward(x)?.index_select(&order, 1)?)?)
    }
}

impl Arm for Checked {
    fn steps(&self) -> u64 {
        self.trained.steps()
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        self.trained.step(record)
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        self.trained.measure(record)?;
        let &Settings { counted_channels: channels, expected_parameters, block, .. } =
            &self.settings;
        let counted = Block::new(channels, block, &meta(DType::F32))?;
        let cost = summary(&counted, &[1, 1, channels])?.total.cost;
        record.measure("block_parameters", cost.parameters as f64);
        record.measure("block_weights", cost.macs as f64);
        let off = cost.parameters as f64 - expected_parameters as f64;
        record.measure("block_parameters_off", off);
        if let Some(block) = self.trained.network().blocks().first() {
            let x = self.points()?;
            record.measure("convolution_error", self.against_convolutions(block, &x)?);
            record.measure("permutation_error", self.against_permutation(block, &x)?);
        }
        Ok(())
    }
}

impl Stateful for Checked {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        self.trained.save(snapshot)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        self.trained.restore(snapshot)
    }
}

/// The largest difference of two tensors, relative to the largest magnitude of the second.
fn relative_distance(found: &Tensor, expected: &Tensor) -> candle_core::Result<f64> {
    let largest = |x: &Tensor| -> candle_core::Result<f64> {
        x.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar()
    };
    Ok(largest(&(found - expected)?)? / largest(expected)?)
}
