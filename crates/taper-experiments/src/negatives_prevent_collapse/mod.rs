//! Do embeddings collapse to a point when a loss of pairs has no negatives?

mod embedding;
mod objective;
mod pairs;

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText, stats};
use taper_losses::{AlignmentOptions, UniformityOptions, alignment, uniformity};

use crate::data::{sources, split};
use crate::mlp::{Mlp, MlpConfig};
use embedding::{nearest_neighbour_accuracy, variance};
use objective::{Loss, Objective};
use pairs::{Drawn, Pairs};

/// Draws of held-out pairs that an arm's own loss is measured on.
const HELD_OUT_DRAWS: usize = 40;

pub(crate) struct NegativesPreventCollapse;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    loss: Loss,
    negatives: bool,
    temperature: f64,
    hidden: Vec<usize>,
    embedding: usize,
    learning_rate: f64,
    steps: u64,
    evaluate_every: u64,
}

impl Experiment for NegativesPreventCollapse {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "negatives_prevent_collapse/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// One network that learns an embedding.
struct Training {
    network: Mlp,
    objective: Objective,
    pairs: Pairs,
    train: (Tensor, Tensor),
    held_out: (Tensor, Tensor),
    held_out_pairs: Vec<Drawn>,
    /// The variance of the held-out embeddings before the first step.
    first_variance: f64,
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let (train, held_out) = (split.train()?, split.held_out()?);
        let config = MlpConfig {
            hidden: &settings.hidden,
            learning_rate: settings.learning_rate,
            steps: settings.steps,
        };
        let network = Mlp::new(split.features(), settings.embedding, &config, context)?;
        let Settings { loss, negatives, temperature, .. } = settings;
        let objective = Objective { loss, negatives, temperature };
        let stream = |name| taper_core::stream(context.seed, name);
        let pairs = Pairs::new(train.clone(), split.classes(), stream("pairs"))?;
        let mut drawing = Pairs::new(held_out.clone(), split.classes(), stream("held-out pairs"))?;
        let held_out_pairs =
            (0..HELD_OUT_DRAWS).map(|_| drawing.draw()).collect::<taper_core::Result<_>>()?;
        let first_variance = variance(&objective.seen(&network.forward(&held_out.0)?)?)?;
        Ok(Self {
            network,
            objective,
            pairs,
            train,
            held_out,
            held_out_pairs,
            first_variance,
            settings,
        })
    }

    /// The embeddings of images, as the loss sees them.
    fn embedded(&self, images: &Tensor) -> taper_core::Result<Tensor> {
        self.objective.seen(&self.network.forward(images)?.detach())
    }

    /// The variance of the held-out embeddings as a part of what it was before the first step.
    fn variance_ratio(&self) -> taper_core::Result<f64> {
        Ok(variance(&self.embedded(&self.held_out.0)?)? / self.first_variance)
    }

    fn neighbours(&self) -> taper_core::Result<f64> {
        let (known, queries) = (self.embedded(&self.train.0)?, self.embedded(&self.held_out.0)?);
        nearest_neighbour_accuracy((&known, &self.train.1), (&queries, &self.held_out.1))
    }

    /// The mean over the held-out pairs of `of`.
    fn over_pairs(
        &self,
        of: impl Fn(&Drawn) -> taper_core::Result<Tensor>,
    ) -> taper_core::Result<f64> {
        let values = self.held_out_pairs.iter().map(|drawn| Ok(of(drawn)?.to_scalar::<f32>()?));
        let values: taper_core::Result<Vec<f32>> = values.collect();
        Ok(stats::mean(&values?.into_iter().map(f64::from).collect::<Vec<_>>()))
    }
}

impl Arm for Training {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        if record.step().is_multiple_of(self.settings.evaluate_every) {
            record.metric("variance_ratio", self.variance_ratio()?);
        }
        let loss = self.objective.of(&self.network, &self.pairs.draw()?)?;
        self.network.descend(&loss, record.step())?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let ratio = self.variance_ratio()?;
        record.metric("variance_ratio", ratio);
        record.measure("variance_ratio", ratio);
        record.measure("nn_accuracy", self.neighbours()?);
        let loss = self.over_pairs(|drawn| self.objective.of(&self.network, drawn))?;
        record.measure("held_out_loss", loss);
        let aligned = self.over_pairs(|drawn| {
            let (first, second) =
                (self.network.forward(&drawn.first)?, self.network.forward(&drawn.second)?);
            alignment(&first, &second, &AlignmentOptions::default())
        })?;
        record.measure("alignment", aligned);
        let embeddings = self.network.forward(&self.held_out.0)?;
        let uniform = uniformity(&embeddings, &UniformityOptions::default())?;
        record.measure("uniformity", f64::from(uniform.to_scalar::<f32>()?));
        Ok(())
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("network", &self.network)?;
        snapshot.put("pairs", &self.pairs)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("network", &mut self.network)?;
        snapshot.get("pairs", &mut self.pairs)
    }
}
