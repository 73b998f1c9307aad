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
use probe::{Probed, Scaled, probe, scaled};

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

/// One network in training.
struct Training {
    network: SigmoidNet,
    held_out: (Tensor, Tensor),
    probes: Vec<(Tensor, Tensor)>,
    /// What was found at each level so far reached.
    at_levels: Vec<Probed>,
    /// The largest errors of the identities so far.
    scaled: Scaled,
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        if settings.levels.is_empty() || !settings.levels.is_sorted_by(|a, b| a > b) {
            return Err("levels: give at least one training loss, in descending order".into());
        }
        let split = split(&settings.data, settings.train_fraction, context)?;
        let config = SigmoidNetConfig {
            hidden: &settings.hidden,
            norm: match settings.norm {
                Norm::None => sigmoid_net::Norm::None,
                Norm::Batch => sigmoid_net::Norm::Batch,
            },
            init_std: settings.init_std,
            learning_rate: settings.learning_rate,
            batch_size: settings.batch_size,
        };
        let network = SigmoidNet::new(&split, &config, context)?;
        let probes = split.probe_batches(settings.batch_size, settings.probe_batches)?;
        if probes.is_empty() {
            return Err(
                "probe_batches: give at least 1, of images that the training part has".into()
            );
        }
        let (at_levels, scaled) = (Vec::new(), Scaled::default());
        Ok(Self { network, held_out: split.held_out()?, probes, at_levels, scaled, settings })
    }

    /// The landscape here, the mean over the probe batches.
    fn probe(&self) -> taper_core::Result<Probed> {
        probe(&self.network, &self.probes, &self.settings.step_sizes)
    }

    /// Probes for every level that the training loss is at or below for the first time.
    fn look_for_levels(&mut self) -> Result<(), BoxError> {
        let Some(level) = self.settings.levels.get(self.at_levels.len()) else { return Ok(()) };
        let loss = training_loss(&self.network, &self.probes)?;
        if loss > *level || loss.is_nan() {
            return Ok(());
        }
        let probed = self.probe()?;
        self.check_identities()?;
        let reached = self.settings.levels.iter().filter(|level| loss <= **level).count();
        self.at_levels.resize(reached, probed);
        Ok(())
    }

    fn check_identities(&mut self) -> Result<(), BoxError> {
        if self.settings.norm == Norm::Batch {
            let errors = scaled(&self.network, &self.probes[0], self.settings.weight_scale)?;
            self.scaled = self.scaled.worse(errors);
        }
        Ok(())
    }

    fn evaluate(&self, record: &mut Record) -> Result<(), BoxError> {
        let (images, labels) = &self.held_out;
        let logits = self.network.forward(images, Pass::Evaluate)?.logits;
        record.metric("accuracy", accuracy(&logits, labels)?);
        let Probed { loss, lowest, highest, changes, smoothness } = self.probe()?;
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
        self.network.step()?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        self.evaluate(record)?;
        self.look_for_levels()?;
        let (images, labels) = &self.held_out;
        let logits = self.network.forward(images, Pass::Evaluate)?.logits;
        record.measure("final_accuracy", accuracy(&logits, labels)?);
        record.measure("final_loss", training_loss(&self.network, &self.probes)?);
        let reached = self.at_levels.len();
        record.measure("levels_reached", reached as f64);
        // Levels that were not reached are measured where the run ended, and censored.
        self.check_identities()?;
        let last = self.probe()?;
        self.at_levels.resize(self.settings.levels.len(), last);
        let quantities: [(&str, fn(&Probed) -> f64); 3] = [
            ("loss_range", |it| it.highest - it.lowest),
            ("gradient_change", |it| it.changes[2]),
            ("smoothness", |it| it.smoothness),
        ];
        for (name, quantity) in quantities {
            let values: Vec<f64> = self.at_levels.iter().map(quantity).collect();
            for (at, (level, value)) in self.settings.levels.iter().zip(&values).enumerate() {
                write(record, &format!("{name}_at_{level}"), *value, at < reached);
            }
            let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
            write(record, name, stats::mean(&logarithms).exp(), reached == values.len());
        }
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
        snapshot.put("network", &self.network)?;
        snapshot.put("scaled", &self.scaled)?;
        snapshot.put_u64("reached", self.at_levels.len() as u64);
        for (at, probed) in self.at_levels.iter().enumerate() {
            snapshot.put(&format!("level.{at}"), probed)?;
        }
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("network", &mut self.network)?;
        snapshot.get("scaled", &mut self.scaled)?;
        self.at_levels = vec![Probed::default(); snapshot.get_u64("reached")? as usize];
        for (at, probed) in self.at_levels.iter_mut().enumerate() {
            snapshot.get(&format!("level.{at}"), probed)?;
        }
        Ok(())
    }
}
