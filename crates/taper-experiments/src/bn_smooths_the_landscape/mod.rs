//! Does batch normalization make the loss smoother along its gradient?

mod probe;

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful, Stream};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText, stats};

use crate::classify::accuracy;
use crate::data::{sources, split};
use crate::sigmoid_net::{self, Pass, SigmoidNet, SigmoidNetConfig};
use probe::{Probed, Quantity, Scaled, probe, scaled};

pub(crate) struct BnSmoothsTheLandscape;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    norm: Norm,
    hidden: Vec<usize>,
    batch_size: usize,
    init_std: f64,
    /// The rate of the networks that the criteria compare.
    common_rate: f64,
    /// The arm's own, tuned rate.
    learning_rate: f64,
    steps: u64,
    evaluate_every: u64,
    /// Training losses, descending, at whose first crossing the landscape is probed.
    levels: Vec<f64>,
    /// The batches that the training loss and the landscape are the mean over.
    probe_batches: usize,
    step_sizes: Vec<f64>,
    /// What a layer's weights are multiplied with for the identities.
    weight_scale: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Norm {
    None,
    Batch,
}

impl Experiment for BnSmoothsTheLandscape {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "bn_smooths_the_landscape/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// Two networks from the same start: one at the rate of all arms, one at the arm's own.
struct Training {
    common: Descent,
    own: Descent,
    held_out: (Tensor, Tensor),
    probes: Vec<(Tensor, Tensor)>,
    /// The largest errors of the identities so far.
    scaled: Scaled,
    settings: Settings,
}

/// One network on its way down.
struct Descent {
    network: SigmoidNet,
    /// What was found at each level so far reached.
    at_levels: Vec<Probed>,
}

impl Settings {
    fn network(&self, learning_rate: f64) -> SigmoidNetConfig<'_> {
        SigmoidNetConfig {
            hidden: &self.hidden,
            norm: match self.norm {
                Norm::None => sigmoid_net::Norm::None,
                Norm::Batch => sigmoid_net::Norm::Batch,
            },
            init_std: self.init_std,
            learning_rate,
            batch_size: self.batch_size,
        }
    }
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        if settings.levels.is_empty() || !settings.levels.is_sorted_by(|a, b| a > b) {
            return Err("levels: give at least one training loss, in descending order".into());
        }
        let split = split(&settings.data, settings.train_fraction, context)?;
        let probes = split.probe_batches(settings.batch_size, settings.probe_batches)?;
        if probes.is_empty() {
            return Err(
                "probe_batches: give at least 1, of images that the training part has".into()
            );
        }
        let descent = |rate| -> Result<Descent, BoxError> {
            let network = SigmoidNet::new(&split, &settings.network(rate), context)?;
            Ok(Descent { network, at_levels: Vec::new() })
        };
        let (common, own) = (descent(settings.common_rate)?, descent(settings.learning_rate)?);
        let (held_out, scaled) = (split.held_out()?, Scaled::default());
        Ok(Self { common, own, held_out, probes, scaled, settings })
    }

    fn accuracy(&self, descent: &Descent) -> taper_core::Result<f64> {
        let (images, labels) = &self.held_out;
        accuracy(&descent.network.forward(images, Pass::Evaluate)?.logits, labels)
    }

    /// Probes where a level is reached.
    fn look_for_levels(&mut self) -> taper_core::Result<()> {
        let (probes, settings) = (&self.probes, &self.settings);
        self.own.look_for_levels(probes, settings)?;
        if self.common.look_for_levels(probes, settings)? {
            self.check_identities()?;
        }
        Ok(())
    }

    fn check_identities(&mut self) -> taper_core::Result<()> {
        if self.settings.norm == Norm::Batch {
            let scale = self.settings.weight_scale;
            for batch in &self.probes {
                self.scaled = self.scaled.worse(scaled(&self.common.network, batch, scale)?);
            }
        }
        Ok(())
    }

    fn evaluate(&self, record: &mut Record) -> Result<(), BoxError> {
        record.metric("accuracy_at_common_rate", self.accuracy(&self.common)?);
        let Probed { loss, lowest, highest, changes, smoothness } =
            probe(&self.common.network, &self.probes, &self.settings.step_sizes)?;
        for (name, value) in [
            ("loss_lowest", lowest),
            ("loss", loss),
            ("loss_highest", highest),
            ("change_least", changes[0]),
            ("change_middle", changes[1]),
            ("change_most", changes[2]),
            ("smoothness", smoothness),
        ] {
            record.metric(name, value);
        }
        Ok(())
    }
}

impl Descent {
    /// Probes for every level that the training loss is at or below for the first time; whether there was one.
    fn look_for_levels(
        &mut self,
        probes: &[(Tensor, Tensor)],
        settings: &Settings,
    ) -> taper_core::Result<bool> {
        let levels = &settings.levels;
        let Some(level) = levels.get(self.at_levels.len()) else { return Ok(false) };
        let loss = training_loss(&self.network, probes)?;
        if loss > *level || loss.is_nan() {
            return Ok(false);
        }
        let reached = levels.iter().filter(|level| loss <= **level).count();
        let probed = probe(&self.network, probes, &settings.step_sizes)?;
        self.at_levels.resize(reached, probed);
        Ok(true)
    }

    /// Writes what was found at the levels; one that was not reached is measured here, where the run ends, and
    /// censored.
    fn measure(
        &mut self,
        suffix: &str,
        probes: &[(Tensor, Tensor)],
        settings: &Settings,
        record: &mut Record,
    ) -> taper_core::Result<()> {
        let reached = self.at_levels.len();
        record.measure(&format!("levels_reached{suffix}"), reached as f64);
        let last = probe(&self.network, probes, &settings.step_sizes)?;
        self.at_levels.resize(settings.levels.len(), last);
        for quantity in [Quantity::LossRange, Quantity::GradientChange, Quantity::Smoothness] {
            let name = format!("{}{suffix}", quantity.name());
            let values: Vec<f64> = self.at_levels.iter().map(|it| it.of(quantity)).collect();
            for (at, (level, value)) in settings.levels.iter().zip(&values).enumerate() {
                write(record, &format!("{name}_at_{level}"), *value, at < reached);
            }
            let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
            write(record, &name, stats::mean(&logarithms).exp(), reached == values.len());
        }
        Ok(())
    }
}

/// The mean loss of the batches, as in training.
fn training_loss(network: &SigmoidNet, batches: &[(Tensor, Tensor)]) -> taper_core::Result<f64> {
    let mut losses = Vec::new();
    for (images, labels) in batches {
        let loss = network.observe(images, &mut no_noise())?.loss(labels)?;
        losses.push(f64::from(loss.to_scalar::<f32>()?));
    }
    Ok(stats::mean(&losses))
}

/// No arm here has a noisy norm: nothing is drawn from it.
fn no_noise() -> Stream {
    taper_core::stream(0, "none")
}

impl Arm for Training {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        if record.step().is_multiple_of(self.settings.evaluate_every) {
            self.evaluate(record)?;
        }
        self.look_for_levels()?;
        self.common.network.step()?;
        self.own.network.step()?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        self.evaluate(record)?;
        self.look_for_levels()?;
        self.check_identities()?;
        record.measure("accuracy_at_common_rate", self.accuracy(&self.common)?);
        record.measure("accuracy_at_own_rate", self.accuracy(&self.own)?);
        self.common.measure("", &self.probes, &self.settings, record)?;
        self.own.measure("_own_rate", &self.probes, &self.settings, record)?;
        if self.settings.norm == Norm::Batch {
            record.measure("output_error", self.scaled.output);
            record.measure("gradient_error", self.scaled.gradient);
        }
        Ok(())
    }
}

fn write(record: &mut Record, name: &str, value: f64, reached: bool) {
    match reached {
        true => record.measure(name, value),
        false => record.censored(name, value),
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("common", &self.common)?;
        snapshot.put("own", &self.own)?;
        snapshot.put("scaled", &self.scaled)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("common", &mut self.common)?;
        snapshot.get("own", &mut self.own)?;
        snapshot.get("scaled", &mut self.scaled)
    }
}

impl Stateful for Descent {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("network", &self.network)?;
        snapshot.put_u64("reached", self.at_levels.len() as u64);
        for (at, probed) in self.at_levels.iter().enumerate() {
            snapshot.put(&format!("level.{at}"), probed)?;
        }
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("network", &mut self.network)?;
        self.at_levels = vec![Probed::default(); snapshot.get_u64("reached")? as usize];
        for (at, probed) in self.at_levels.iter_mut().enumerate() {
            snapshot.get(&format!("level.{at}"), probed)?;
        }
        Ok(())
    }
}
