//! A network in training, whatever it is made of, and what it costs: the arm of the experiments on blocks.

use std::num::NonZeroU64;
use std::ops::ControlFlow;

use candle_core::{DType, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_bottleneck::{Counted, summary};
use taper_core::optim::{Optimizer, Sgd, SgdConfig};
use taper_core::{Error, Gradients, Parameters, Result, Schedule, Snapshot, Stateful};
use taper_data::Batches;
use taper_lab::{Arm, BoxError, Context, Record};
use taper_losses::{ClassOptions, Target, cross_entropy};

use crate::classify::accuracy;
use crate::data::Split;

/// From images (N, features) to logits, with a statement of its cost.
pub(crate) trait Network: ModuleT + Counted {}

impl<N: ModuleT + Counted> Network for N {}

/// How a network is trained: by SGD with momentum, whose rate falls to zero in a half cosine.
pub(crate) struct TrainedConfig {
    pub(crate) batch_size: usize,
    pub(crate) learning_rate: f64,
    pub(crate) momentum: f64,
    pub(crate) steps: u64,
    pub(crate) evaluate_every: u64,
}

/// A network of the kind `N` in training on cross-entropy.
pub(crate) struct Trained<N> {
    parameters: Parameters,
    network: N,
    gradients: Gradients,
    optimizer: Sgd,
    schedule: Schedule,
    batches: Batches,
    train: (Tensor, Tensor),
    held_out: (Tensor, Tensor),
    config: TrainedConfig,
}

impl<N: Network> Trained<N> {
    /// Trains what `build` makes.
    pub(crate) fn new(
        split: &Split,
        config: TrainedConfig,
        context: &Context,
        build: impl FnOnce(VarBuilder<'static>) -> Result<N>,
    ) -> taper_data::Result<Self> {
        let steps = NonZeroU64::new(config.steps)
            .ok_or_else(|| Error::argument("Trained::new", "steps", "at least 1", 0))?;
        let parameters = Parameters::new(&taper_core::stream(context.seed, "init"));
        let network = build(parameters.builder(DType::F32, &context.device))?;
        let trainable = parameters.trainable();
        let gradients = Gradients::new(trainable.iter().map(|(_, variable)| variable))?;
        let TrainedConfig { learning_rate, momentum, .. } = config;
        let sgd = SgdConfig { learning_rate, momentum, ..Default::default() };
        Ok(Self {
            optimizer: Sgd::new(trainable, sgd)?,
            parameters,
            network,
            gradients,
            schedule: Schedule::Cosine { steps, min_factor: 0.0 },
            batches: split.train_batches(config.batch_size)?,
            train: split.train()?,
            held_out: split.held_out()?,
            config,
        })
    }

    pub(crate) fn network(&self) -> &N {
        &self.network
    }

    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The images that are measured on, and their labels.
    pub(crate) fn held_out(&self) -> &(Tensor, Tensor) {
        &self.held_out
    }

    /// The part of the images that get their label, in evaluation.
    fn accuracy(&self, (images, labels): &(Tensor, Tensor)) -> Result<f64> {
        accuracy(&self.network.forward_t(images, false)?.detach(), labels)
    }
}

impl<N: Network> Arm for Trained<N> {
    fn steps(&self) -> u64 {
        self.config.steps
    }

    fn step(&mut self, record: &mut Record) -> std::result::Result<ControlFlow<()>, BoxError> {
        if record.step().is_multiple_of(self.config.evaluate_every) {
            record.metric("accuracy", self.accuracy(&self.held_out)?);
        }
        let rate = self.schedule.learning_rate(self.config.learning_rate, record.step());
        self.optimizer.set_learning_rate(0, rate)?;
        let (images, labels) = self.batches.next_batch()?;
        let logits = self.network.forward_t(&images, true)?;
        let loss = cross_entropy(&logits, Target::Indices(&labels), &ClassOptions::default())?;
        record.metric("loss", loss.detach().to_dtype(DType::F64)?.to_scalar()?);
        self.gradients.backward(&loss)?;
        self.optimizer.step(&self.gradients)?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> std::result::Result<(), BoxError> {
        let accuracy = self.accuracy(&self.held_out)?;
        record.metric("accuracy", accuracy);
        record.measure("final_accuracy", accuracy);
        record.measure("train_accuracy", self.accuracy(&self.train)?);
        let cost = summary(&self.network, &[1, self.held_out.0.dim(1)?])?.total.cost;
        record.measure("parameters", cost.parameters as f64);
        record.measure("macs", cost.macs as f64);
        Ok(())
    }
}

impl<N: Network> Stateful for Trained<N> {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put("parameters", &self.parameters)?;
        snapshot.put("optimizer", &self.optimizer)?;
        snapshot.put("batches", &self.batches)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.get("parameters", &mut self.parameters)?;
        snapshot.get("optimizer", &mut self.optimizer)?;
        snapshot.get("batches", &mut self.batches)
    }
}
