//! Layers with a norm and an activation between them, in training: the network of the experiments on norms.

use std::ops::ControlFlow;

use candle_core::{DType, Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::optim::{Optimizer, Sgd, SgdConfig};
use taper_core::{
    Activation, Conv2d, Conv2dConfig, FanMode, Gradients, Initializer, Linear, LinearConfig,
    Nonlinearity, Parameters, Result, Schedule, Snapshot, Stateful, conv2d, linear,
};
use taper_data::Batches;
use taper_lab::{Arm, BoxError, Context, Record};
use taper_losses::{ClassOptions, Target, cross_entropy};
use taper_norm::{BatchNormConfig, GroupNormConfig, NormConfig};

use crate::classify::accuracy;
use crate::data::Split;

/// How a network is made and trained.
pub(crate) struct NormalizedConfig<'a> {
    pub(crate) layers: Layers,
    /// The units of each hidden layer, or its channels.
    pub(crate) hidden: &'a [usize],
    pub(crate) norm: Norm,
    pub(crate) activation: Activation,
    /// How all weights begin; biases begin at 0.
    pub(crate) weight_init: Initializer,
    /// Where the rate of plain SGD starts.
    pub(crate) learning_rate: f64,
    pub(crate) schedule: Schedule,
}

/// How weights begin where rectifiers follow (He and others 2015).
pub(crate) const RELU_INIT: Initializer =
    Initializer::KaimingNormal { mode: FanMode::FanIn, nonlinearity: Nonlinearity::Relu };

/// What the hidden layers compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layers {
    /// Products with all inputs.
    Dense,
    /// Convolutions of 3x3 places; each but the first halves the image, and the mean over places goes to the top.
    Convolutional,
}

/// What stands between a hidden layer's product and its activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Norm {
    None,
    Batch,
    /// Of each sample by itself, over so many groups of its units or channels.
    Group {
        groups: usize,
    },
}

/// A network in training by plain SGD on cross-entropy.
pub(crate) struct Normalized {
    parameters: Parameters,
    /// The shape of an image for convolutions.
    shape: Option<[usize; 3]>,
    hidden: Vec<Hidden>,
    top: Linear,
    gradients: Gradients,
    optimizer: Sgd,
    schedule: Schedule,
    learning_rate: f64,
}

impl Normalized {
    pub(crate) fn new(
        split: &Split,
        config: &NormalizedConfig<'_>,
        context: &Context,
    ) -> Result<Self> {
        let parameters = Parameters::new(&taper_core::stream(context.seed, "init"));
        let vb = parameters.builder(DType::F32, &context.device);
        let (shape, mut width) = match config.layers {
            Layers::Dense => (None, split.features()),
            Layers::Convolutional => (Some(split.shape()), split.shape()[0]),
        };
        let mut hidden = Vec::new();
        for (at, outputs) in config.hidden.iter().enumerate() {
            hidden.push(Hidden::new(at, width, *outputs, config, &vb)?);
            width = *outputs;
        }
        let top = LinearConfig {
            weight_init: config.weight_init,
            bias_init: Some(Initializer::Constant(0.0)),
            ..Default::default()
        };
        let top = linear(width, split.classes(), top, vb.pp("top"))?;
        let trainable = parameters.trainable();
        let gradients = Gradients::new(trainable.iter().map(|(_, variable)| variable))?;
        let learning_rate = config.learning_rate;
        let optimizer = Sgd::new(trainable, SgdConfig { learning_rate, ..Default::default() })?;
        let schedule = config.schedule.clone();
        Ok(Self { parameters, shape, hidden, top, gradients, optimizer, schedule, learning_rate })
    }

    fn forward(&self, images: &Tensor, train: bool) -> Result<Tensor> {
        let mut output = match self.shape {
            None => images.clone(),
            Some([channels, height, width]) => images.reshape(((), channels, height, width))?,
        };
        for layer in &self.hidden {
            output = layer.forward(&output, train)?;
        }
        if self.shape.is_some() {
            output = output.mean((2, 3))?;
        }
        Ok(self.top.forward(&output)?)
    }

    /// The logits of images (N, features) in evaluation, without a way back for gradients.
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.forward(images, false)?.detach())
    }

    /// The part of the images that get another label than theirs.
    pub(crate) fn error(&self, (images, labels): &(Tensor, Tensor)) -> Result<f64> {
        Ok(1.0 - accuracy(&self.logits(images)?, labels)?)
    }

    /// The mean cross-entropy of images in evaluation.
    pub(crate) fn loss(&self, (images, labels): &(Tensor, Tensor)) -> Result<f64> {
        let options = ClassOptions::default();
        let loss = cross_entropy(&self.logits(images)?, Target::Indices(labels), &options)?;
        Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
    }

    /// The step number `step`, on a batch.
    pub(crate) fn step(&mut self, (images, labels): &(Tensor, Tensor), step: u64) -> Result<()> {
        let rate = self.schedule.learning_rate(self.learning_rate, step);
        self.optimizer.set_learning_rate(0, rate)?;
        let logits = self.forward(images, true)?;
        let loss = cross_entropy(&logits, Target::Indices(labels), &ClassOptions::default())?;
        self.gradients.backward(&loss)?;
        self.optimizer.step(&self.gradients)
    }
}

/// A network in training that is judged once, after its last step, by the images held out.
pub(crate) struct Training {
    network: Normalized,
    batches: Batches,
    held_out: (Tensor, Tensor),
    steps: u64,
}

impl Training {
    pub(crate) fn new(
        split: &Split,
        config: &NormalizedConfig<'_>,
        batch_size: usize,
        steps: u64,
        context: &Context,
    ) -> taper_data::Result<Self> {
        Ok(Self {
            network: Normalized::new(split, config, context)?,
            batches: split.train_batches(batch_size)?,
            held_out: split.held_out()?,
            steps,
        })
    }
}

impl Arm for Training {
    fn steps(&self) -> u64 {
        self.steps
    }

    fn step(&mut self, record: &mut Record) -> std::result::Result<ControlFlow<()>, BoxError> {
        self.network.step(&self.batches.next_batch()?, record.step())?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> std::result::Result<(), BoxError> {
        let error = self.network.error(&self.held_out)?;
        record.measure("final_error", error);
        record.measure("final_accuracy", 1.0 - error);
        Ok(())
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put("network", &self.network)?;
        snapshot.put("batches", &self.batches)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.get("network", &mut self.network)?;
        snapshot.get("batches", &mut self.batches)
    }
}

impl Stateful for Normalized {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put("parameters", &self.parameters)?;
        snapshot.put("optimizer", &self.optimizer)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.get("parameters", &mut self.parameters)?;
        snapshot.get("optimizer", &mut self.optimizer)
    }
}

/// One hidden layer: a product, a norm, and the activation in the last of the two.
struct Hidden {
    product: Product,
    norm: taper_norm::Norm,
}

enum Product {
    Linear(Linear),
    Conv2d(Conv2d),
}

impl Hidden {
    /// The layer number `at`. It has a bias where no norm gives it one.
    fn new(
        at: usize,
        inputs: usize,
        outputs: usize,
        config: &NormalizedConfig<'_>,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let &NormalizedConfig { weight_init, norm, activation, .. } = config;
        let bias_init = Some(Initializer::Constant(0.0));
        let bias = norm == Norm::None;
        let last = if bias { activation } else { Activation::Identity };
        let place = vb.pp(format!("hidden.{at}"));
        let product = match config.layers {
            Layers::Dense => {
                let config = LinearConfig { bias, weight_init, bias_init, activation: last };
                Product::Linear(linear(inputs, outputs, config, place)?)
            }
            Layers::Convolutional => {
                let stride: usize = if at == 0 { 1 } else { 2 };
                let config = Conv2dConfig {
                    stride: stride.into(),
                    padding: 1.into(),
                    bias,
                    weight_init,
                    bias_init,
                    activation: last,
                    ..Default::default()
                };
                Product::Conv2d(conv2d(inputs, outputs, 3, config, place)?)
            }
        };
        let place = vb.pp(format!("norm.{at}"));
        let config = match norm {
            Norm::None => NormConfig::None,
            Norm::Batch => NormConfig::Batch(BatchNormConfig { activation, ..Default::default() }),
            Norm::Group { groups } => {
                let GroupNormConfig { eps, affine, .. } = GroupNormConfig::default();
                NormConfig::Group { groups, eps, affine, activation }
            }
        };
        let norm = taper_norm::norm(outputs, config, place)?;
        Ok(Self { product, norm })
    }

    fn forward(&self, input: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let output = match &self.product {
            Product::Linear(linear) => linear.forward(input)?,
            Product::Conv2d(conv2d) => conv2d.forward(input)?,
        };
        self.norm.forward_t(&output, train)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use taper_lab::Role;

    use super::*;
    use crate::data::split;

    #[test]
    fn a_step_moves_every_parameter_and_leaves_the_loss_a_number() {
        let context = Context { seed: 7, role: Role::Tune, device: Device::Cpu };
        let split = split(&"digits".parse().unwrap(), 0.5, &context).unwrap();
        for layers in [Layers::Dense, Layers::Convolutional] {
            for norm in [Norm::None, Norm::Batch, Norm::Group { groups: 2 }] {
                let config = NormalizedConfig {
                    layers,
                    hidden: &[4, 8, 8],
                    norm,
                    activation: Activation::Sigmoid,
                    weight_init: RELU_INIT,
                    learning_rate: 1.0,
                    schedule: Schedule::Constant,
                };
                let mut network = Normalized::new(&split, &config, &context).unwrap();
                let values = |network: &Normalized| -> Vec<(String, Vec<f32>)> {
                    let values = |(name, var): (String, candle_core::Var)| {
                        (name, var.flatten_all().unwrap().to_vec1().unwrap())
                    };
                    network.parameters.trainable().into_iter().map(values).collect()
                };
                let before = values(&network);
                let (images, labels) = split.train().unwrap();
                network.step(&(images, labels), 0).unwrap();
                for ((name, before), (_, after)) in before.iter().zip(values(&network)) {
                    assert_ne!(*before, after, "{layers:?}, {norm:?}: {name}");
                }
                assert!(network.loss(&split.held_out().unwrap()).unwrap().is_finite());
            }
        }
    }
}
