//! Linear layers with ReLU between them, in training: the network of the experiments on losses.

use std::num::NonZeroU64;

use candle_core::{DType, Module, Tensor};
use taper_core::optim::{Adam, AdamConfig, Optimizer};
use taper_core::{
    Activation, Error, Gradients, Linear, LinearConfig, Parameters, Result, Schedule, Snapshot,
    Stateful, linear,
};
use taper_lab::Context;

/// How a network is made and trained.
pub(crate) struct MlpConfig<'a> {
    /// The units of each hidden layer.
    pub(crate) hidden: &'a [usize],
    /// Where Adam's rate starts; it falls to zero in a half cosine.
    pub(crate) learning_rate: f64,
    /// How many steps that takes.
    pub(crate) steps: u64,
}

pub(crate) struct Mlp {
    parameters: Parameters,
    layers: Vec<Linear>,
    gradients: Gradients,
    optimizer: Adam,
    schedule: Schedule,
    learning_rate: f64,
}

impl Mlp {
    pub(crate) fn new(
        features: usize,
        outputs: usize,
        config: &MlpConfig<'_>,
        context: &Context,
    ) -> Result<Self> {
        let steps = NonZeroU64::new(config.steps)
            .ok_or_else(|| Error::argument("Mlp::new", "steps", "at least 1", 0))?;
        let parameters = Parameters::new(&taper_core::stream(context.seed, "init"));
        let vb = parameters.builder(DType::F32, &context.device);
        let rectified = LinearConfig { activation: Activation::Relu, ..Default::default() };
        let mut layers = Vec::new();
        let mut width = features;
        for (at, units) in config.hidden.iter().enumerate() {
            layers.push(linear(width, *units, rectified, vb.pp(format!("hidden.{at}")))?);
            width = *units;
        }
        layers.push(linear(width, outputs, LinearConfig::default(), vb.pp("top"))?);
        let trainable = parameters.trainable();
        let gradients = Gradients::new(trainable.iter().map(|(_, variable)| variable))?;
        let learning_rate = config.learning_rate;
        let adam = AdamConfig { learning_rate, ..Default::default() };
        let optimizer = Adam::new(trainable, adam)?;
        let schedule = Schedule::Cosine { steps, min_factor: 0.0 };
        Ok(Self { parameters, layers, gradients, optimizer, schedule, learning_rate })
    }

    /// The outputs of images (N, features).
    pub(crate) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut output = images.clone();
        for layer in &self.layers {
            output = layer.forward(&output)?;
        }
        Ok(output)
    }

    /// The step number `step` down on a loss of this network's outputs.
    pub(crate) fn descend(&mut self, loss: &Tensor, step: u64) -> Result<()> {
        let rate = self.schedule.learning_rate(self.learning_rate, step);
        self.optimizer.set_learning_rate(0, rate)?;
        self.gradients.backward(loss)?;
        self.optimizer.step(&self.gradients)
    }
}

impl Stateful for Mlp {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put("parameters", &self.parameters)?;
        snapshot.put("optimizer", &self.optimizer)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.get("parameters", &mut self.parameters)?;
        snapshot.get("optimizer", &mut self.optimizer)
    }
}
