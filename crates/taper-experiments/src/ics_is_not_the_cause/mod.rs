//! Does batch normalization help because it keeps the distributions of activations in place?

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_core::optim::{Optimizer, Sgd, SgdConfig};
use taper_core::{Gradients, Snapshot, Stateful, Stream};
use taper_data::DataName;
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText, stats};
use taper_norm::{Drift, Noise, covariate_shift};

use crate::classify::accuracy;
use crate::data::{sources, split};
use crate::sigmoid_net::{self, Pass, SigmoidNet, SigmoidNetConfig};

pub(crate) struct IcsIsNotTheCause;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    data: DataName,
    train_fraction: f64,
    norm: Norm,
    noise_mean_range: f64,
    noise_scale_range: f64,
    noise_mean_spread: f64,
    noise_scale_spread: f64,
    hidden: Vec<usize>,
    batch_size: usize,
    init_std: f64,
    /// The rate of the networks that the criteria compare.
    common_rate: f64,
    /// The arm's own, tuned rate.
    learning_rate: f64,
    steps: u64,
    evaluate_every: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Norm {
    None,
    Batch,
    NoisyBatch,
}

impl Settings {
    fn network(&self, learning_rate: f64) -> SigmoidNetConfig<'_> {
        SigmoidNetConfig {
            hidden: &self.hidden,
            norm: match self.norm {
                Norm::None => sigmoid_net::Norm::None,
                Norm::Batch => sigmoid_net::Norm::Batch,
                Norm::NoisyBatch => sigmoid_net::Norm::Noisy(Noise {
                    mean_range: self.noise_mean_range,
                    scale_range: self.noise_scale_range,
                    mean_spread: self.noise_mean_spread,
                    scale_spread: self.noise_scale_spread,
                }),
            },
            init_std: self.init_std,
            learning_rate,
            batch_size: self.batch_size,
        }
    }
}

impl Experiment for IcsIsNotTheCause {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "ics_is_not_the_cause/spec.toml", text: include_str!("spec.toml") };

    fn data(settings: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(sources(&settings.data)?)
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Training::new(settings, context)?))
    }
}

/// Two networks from the same start: one at the rate of all arms, one at the arm's own.
struct Training {
    common: SigmoidNet,
    own: SigmoidNet,
    held_out: (Tensor, Tensor),
    /// The images and labels that drift and covariate shift are measured on.
    probe: (Tensor, Tensor),
    /// The noise of observations: the networks' own goes on as if nobody looked.
    noise: Stream,
    /// Of the probe's images, from step to step.
    drift: Drift,
    /// Of the held-out images, between evaluations.
    seldom: Drift,
    /// Sums over the observations.
    difference: f64,
    cosine: f64,
    observations: u64,
    settings: Settings,
}

impl Training {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let split = split(&settings.data, settings.train_fraction, context)?;
        let common = SigmoidNet::new(&split, &settings.network(settings.common_rate), context)?;
        let own = SigmoidNet::new(&split, &settings.network(settings.learning_rate), context)?;
        let mut probes = split.probe_batches(settings.batch_size, 1)?;
        let Some(probe) = probes.pop() else {
            return Err("the batch size is larger than the training part".into());
        };
        Ok(Self {
            common,
            own,
            held_out: split.held_out()?,
            probe,
            noise: taper_core::stream(context.seed, "observed noise"),
            drift: Drift::default(),
            seldom: Drift::default(),
            difference: 0.0,
            cosine: 0.0,
            observations: 0,
            settings,
        })
    }

    /// What the networks are worth, and how the activations of the first look in training.
    fn evaluate(&mut self, record: &mut Record) -> Result<[f64; 2], BoxError> {
        let (images, labels) = &self.held_out;
        let of = |network: &SigmoidNet| {
            accuracy(&network.forward(images, Pass::Evaluate)?.logits, labels)
        };
        let accuracies = [of(&self.common)?, of(&self.own)?];
        record.metric("accuracy_at_common_rate", accuracies[0]);
        record.metric("accuracy_at_own_rate", accuracies[1]);
        let output = self.common.observe(images, &mut self.noise)?;
        // The report shows the first unit.
        if let Some([low, middle, high]) = self.seldom.observe(output.last_hidden_input())?.first()
        {
            record.metric("p15", *low);
            record.metric("p50", *middle);
            record.metric("p85", *high);
        }
        self.observe_shift(record)?;
        Ok(accuracies)
    }

    fn observe_drift(&mut self) -> taper_core::Result<()> {
        let output = self.common.observe(&self.probe.0, &mut self.noise)?;
        self.drift.observe(output.last_hidden_input())?;
        Ok(())
    }

    /// The covariate shift of a step at the common rate, the mean over the layers that have one before them.
    fn observe_shift(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let (images, labels) = &self.probe;
        // Every pass sees the same noise.
        let noise = self.noise.child(&record.step().to_string());
        let loss = || {
            let pass = &mut noise.clone();
            self.common.forward(images, Pass::Train(pass))?.loss(labels)
        };
        let parameters = self.common.parameters();
        let trainable = parameters.trainable();
        let config = SgdConfig { learning_rate: self.settings.common_rate, ..Default::default() };
        let mut gradients = Gradients::new(trainable.iter().map(|(_, it)| it))?;
        let mut optimizer = Sgd::new(trainable, config)?;
        let shifts = covariate_shift(loss, &self.common.layers(), &parameters.buffers(), || {
            gradients.backward(&loss()?)?;
            optimizer.step(&gradients)
        })?;
        let mean = |of: fn(&taper_norm::Shift) -> f64| {
            stats::mean(&shifts.iter().skip(1).map(of).collect::<Vec<_>>())
        };
        let (difference, cosine) = (mean(|shift| shift.difference), mean(|shift| shift.cosine));
        record.metric("shift_difference", difference);
        record.metric("shift_cosine", cosine);
        self.difference += difference;
        self.cosine += cosine;
        self.observations += 1;
        Ok(())
    }
}

impl Arm for Training {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        if record.step().is_multiple_of(self.settings.evaluate_every) {
            self.evaluate(record)?;
        }
        self.observe_drift()?;
        self.common.step()?;
        self.own.step()?;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let [common, own] = self.evaluate(record)?;
        self.observe_drift()?;
        record.measure("accuracy_at_common_rate", common);
        record.measure("accuracy_at_own_rate", own);
        record.measure("median_drift", self.drift.median());
        let way = stats::quantile(self.drift.travelled(), 0.5)?;
        record.measure("median_step", way / self.settings.steps as f64);
        record.measure("median_drift_between_evaluations", self.seldom.median());
        let observations = self.observations as f64;
        record.measure("shift_difference", self.difference / observations);
        record.measure("shift_cosine", self.cosine / observations);
        Ok(())
    }
}

impl Stateful for Training {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put("common", &self.common)?;
        snapshot.put("own", &self.own)?;
        snapshot.put("noise", &self.noise)?;
        snapshot.put("drift", &self.drift)?;
        snapshot.put("seldom", &self.seldom)?;
        snapshot.put_f64("difference", self.difference);
        snapshot.put_f64("cosine", self.cosine);
        snapshot.put_u64("observations", self.observations);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        snapshot.get("common", &mut self.common)?;
        snapshot.get("own", &mut self.own)?;
        snapshot.get("noise", &mut self.noise)?;
        snapshot.get("drift", &mut self.drift)?;
        snapshot.get("seldom", &mut self.seldom)?;
        self.difference = snapshot.get_f64("difference")?;
        self.cosine = snapshot.get_f64("cosine")?;
        self.observations = snapshot.get_u64("observations")?;
        Ok(())
    }
}
