//! The network of the experiments on batch normalization, in training: sigmoid layers with or without a norm before each
//! sigmoid, a linear layer on top, plain SGD.

use candle_core::{DType, Module, ModuleT, Tensor, Var};
use taper_core::optim::{Optimizer, Sgd, SgdConfig};
use taper_core::{
    Activation, Gradients, Initializer, Linear, LinearConfig, Parameters, Result, Snapshot,
    Stateful, Stream, linear,
};
use taper_data::Batches;
use taper_lab::Context;
use taper_losses::{ClassOptions, Target, cross_entropy};
use taper_norm::{
    BatchNorm, BatchNormConfig, Noise, NoisyBatchNorm, NoisyBatchNormConfig, batch_norm,
    noisy_batch_norm, restoring,
};

use crate::data::Split;

/// What stands between a hidden layer's product and its sigmoid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Norm {
    None,
    Batch,
    /// Batch normalization, and noise after it in training.
    Noisy(Noise),
}

/// How a network is made and trained.
pub(crate) struct SigmoidNetConfig<'a> {
    /// The units of each hidden layer.
    pub(crate) hidden: &'a [usize],
    pub(crate) norm: Norm,
    /// The standard deviation of the initial weights.
    pub(crate) init_std: f64,
    pub(crate) learning_rate: f64,
    pub(crate) batch_size: usize,
}

pub(crate) struct SigmoidNet {
    parameters: Parameters,
    hidden: Vec<(Linear, Layer)>,
    top: Linear,
    gradients: Gradients,
    optimizer: Sgd,
    batches: Batches,
    /// What a noisy norm draws from while training.
    noise: Stream,
}

/// A hidden layer's norm.
enum Layer {
    None,
    Batch(BatchNorm),
    Noisy(NoisyBatchNorm),
}

/// Whether a forward pass is one of training, whose noise is drawn from a stream.
pub(crate) enum Pass<'a> {
    Train(&'a mut Stream),
    Evaluate,
}

/// What a forward pass gives.
pub(crate) struct Output {
    pub(crate) logits: Tensor,
    /// What goes into each hidden layer's sigmoids, (N, units).
    pub(crate) inputs: Vec<Tensor>,
}

impl Output {
    /// The cross-entropy against labels (N).
    pub(crate) fn loss(&self, labels: &Tensor) -> Result<Tensor> {
        cross_entropy(&self.logits, Target::Indices(labels), &ClassOptions::default())
    }

    /// What goes into the last hidden layer's sigmoids.
    pub(crate) fn last_hidden_input(&self) -> &Tensor {
        self.inputs.last().unwrap_or(&self.logits)
    }
}

impl SigmoidNet {
    pub(crate) fn new(
        split: &Split,
        config: &SigmoidNetConfig<'_>,
        context: &Context,
    ) -> taper_data::Result<Self> {
        let parameters = Parameters::new(&taper_core::stream(context.seed, "init"));
        let vb = parameters.builder(DType::F32, &context.device);
        let like = LinearConfig {
            weight_init: Initializer::Normal { mean: 0.0, std: config.init_std },
            bias_init: Some(Initializer::Constant(0.0)),
            ..Default::default()
        };
        let mut hidden = Vec::new();
        let mut width = split.features();
        for (at, units) in config.hidden.iter().enumerate() {
            let layer = linear(width, *units, like, vb.pp(format!("hidden.{at}")))?;
            let vb = vb.pp(format!("norm.{at}"));
            let norm = BatchNormConfig::default();
            let norm = match config.norm {
                Norm::None => Layer::None,
                Norm::Batch => Layer::Batch(batch_norm(*units, norm, vb)?),
                Norm::Noisy(noise) => Layer::Noisy(noisy_batch_norm(
                    *units,
                    NoisyBatchNormConfig { norm, noise },
                    vb,
                )?),
            };
            hidden.push((layer, norm));
            width = *units;
        }
        let top = linear(width, split.classes(), like, vb.pp("top"))?;
        let sgd = SgdConfig { learning_rate: config.learning_rate, ..Default::default() };
        let trainable = parameters.trainable();
        let gradients = Gradients::new(trainable.iter().map(|(_, variable)| variable))?;
        let optimizer = Sgd::new(trainable, sgd)?;
        let batches = split.train_batches(config.batch_size)?;
        let noise = taper_core::stream(context.seed, "noise");
        Ok(Self { parameters, hidden, top, gradients, optimizer, batches, noise })
    }

    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The parameters of each layer, its norm's included, from the input on.
    pub(crate) fn layers(&self) -> Vec<Vec<Var>> {
        let trainable = self.parameters.trainable();
        let of = |prefixes: &[String]| -> Vec<Var> {
            let here = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
            trainable.iter().filter(|(name, _)| here(name)).map(|(_, it)| it.clone()).collect()
        };
        let hidden = 0..self.hidden.len();
        let mut layers: Vec<Vec<Var>> =
            hidden.map(|at| of(&[format!("hidden.{at}."), format!("norm.{at}.")])).collect();
        layers.push(of(&["top.".to_owned()]));
        layers
    }

    pub(crate) fn forward(&self, images: &Tensor, mut pass: Pass<'_>) -> Result<Output> {
        let train = matches!(pass, Pass::Train(_));
        let mut activation = images.clone();
        let mut inputs = Vec::new();
        for (layer, norm) in &self.hidden {
            let product = layer.forward(&activation)?;
            let input = match (norm, &mut pass) {
                (Layer::None, _) => product,
                (Layer::Batch(norm), _) => norm.forward_t(&product, train)?,
                (Layer::Noisy(norm), Pass::Train(noise)) => {
                    norm.forward_t(&product, true, noise)?
                }
                (Layer::Noisy(norm), Pass::Evaluate) => norm.norm().forward_t(&product, false)?,
            };
            activation = Activation::Sigmoid.forward(&input)?;
            inputs.push(input);
        }
        Ok(Output { logits: self.top.forward(&activation)?, inputs })
    }

    /// A forward pass as in training that leaves the running statistics as they are.
    pub(crate) fn observe(&self, images: &Tensor, noise: &mut Stream) -> Result<Output> {
        let buffers = self.parameters.buffers();
        restoring(buffers.iter().map(|(_, it)| it), || self.forward(images, Pass::Train(noise)))
    }

    /// A training step on the next batch.
    pub(crate) fn step(&mut self) -> Result<()> {
        let (images, labels) = self.batches.next_batch()?;
        let mut noise = self.noise.clone();
        let loss = self.forward(&images, Pass::Train(&mut noise))?.loss(&labels)?;
        self.noise = noise;
        self.gradients.backward(&loss)?;
        self.optimizer.step(&self.gradients)
    }
}

impl Stateful for SigmoidNet {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put("parameters", &self.parameters)?;
        snapshot.put("optimizer", &self.optimizer)?;
        snapshot.put("batches", &self.batches)?;
        snapshot.put("noise", &self.noise)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.get("parameters", &mut self.parameters)?;
        snapshot.get("optimizer", &mut self.optimizer)?;
        snapshot.get("batches", &mut self.batches)?;
        snapshot.get("noise", &mut self.noise)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use taper_lab::Role;

    use super::*;
    use crate::data::split;

    fn network(norm: Norm) -> SigmoidNet {
        let context = Context { seed: 1, role: Role::Tune, device: Device::Cpu };
        let split = split(&"digits".parse().unwrap(), 0.8, &context).unwrap();
        let (hidden, init_std) = (&[6, 5][..], 0.1);
        let config =
            SigmoidNetConfig { hidden, norm, init_std, learning_rate: 0.5, batch_size: 20 };
        SigmoidNet::new(&split, &config, &context).unwrap()
    }

    #[test]
    fn layers_are_all_that_is_trained_each_variable_once() {
        for (norm, each) in [(Norm::None, 2), (Norm::Batch, 4), (Norm::Noisy(Noise::default()), 4)]
        {
            let network = network(norm);
            let layers = network.layers();
            assert_eq!(layers.iter().map(Vec::len).collect::<Vec<_>>(), [each, each, 2]);
            let trained = network.parameters().trainable();
            for (_, variable) in &trained {
                let is_it = |it: &&Var| it.id() == variable.id();
                assert_eq!(layers.iter().flatten().filter(is_it).count(), 1);
            }
        }
    }

    #[test]
    fn who_looks_changes_nothing() {
        let (mut seen, mut alone) =
            (network(Norm::Noisy(Noise::default())), network(Norm::Noisy(Noise::default())));
        let (images, labels) = seen.batches.next_batch().unwrap();
        alone.batches.next_batch().unwrap();
        let mut noise = taper_core::stream(9, "noise");
        let mut losses = Vec::new();
        for _ in 0..2 {
            let output = seen.observe(&images, &mut noise).unwrap();
            losses.push(output.loss(&labels).unwrap().to_scalar::<f32>().unwrap());
            seen.step().unwrap();
            alone.step().unwrap();
        }
        assert_ne!(losses[0], losses[1]);
        let state = |network: &SigmoidNet| {
            let mut snapshot = Snapshot::new();
            network.save(&mut snapshot).unwrap();
            snapshot.to_bytes().unwrap()
        };
        assert_eq!(state(&seen), state(&alone));
    }
}
