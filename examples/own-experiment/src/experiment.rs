//! Does momentum reach the bottom of a long, narrow valley in fewer steps?

use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful};
use taper_lab::{Arm, BoxError, Context, DataSource, Record, SpecText};

/// The experiment: what `main.rs` registers.
pub struct Experiment;

/// The settings of one arm. No defaults: `spec.toml` shows every value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    dimensions: usize,
    condition: f64,
    learning_rate: f64,
    momentum: f64,
    target: f64,
    steps: u64,
}

impl taper_lab::Experiment for Experiment {
    type Settings = Settings;
    const SPEC: SpecText = SpecText { file: "src/spec.toml", text: include_str!("spec.toml") };

    fn data(_: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(Vec::new())
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Descent::new(settings, context)?))
    }
}

/// Gradient descent on f(w) = Σ λᵢ wᵢ² / 2, with λ from 1 to the condition number.
struct Descent {
    settings: Settings,
    curvature: Tensor,
    weight: Tensor,
    velocity: Tensor,
    first_loss: f64,
    reached: Option<u64>,
}

impl Descent {
    fn new(settings: Settings, context: &Context) -> Result<Self, BoxError> {
        let n = settings.dimensions;
        let last = n.saturating_sub(1).max(1) as f64;
        let curvature: Vec<f64> =
            (0..n).map(|i| settings.condition.powf(i as f64 / last)).collect();
        let curvature = Tensor::from_vec(curvature, n, &context.device)?;
        // Every arm starts at the same point: the stream depends on the seed and its name only.
        let mut start = taper_core::stream(context.seed, "start");
        let weight = start.normal(0.0, 1.0, n, DType::F64, &context.device)?;
        let velocity = weight.zeros_like()?;
        let first_loss = loss(&curvature, &weight)?;
        Ok(Self { settings, curvature, weight, velocity, first_loss, reached: None })
    }
}

impl Arm for Descent {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        let gradient = (&self.curvature * &self.weight)?;
        self.velocity = ((&self.velocity * self.settings.momentum)? + gradient)?;
        self.weight = (&self.weight - (&self.velocity * self.settings.learning_rate)?)?;
        let loss = loss(&self.curvature, &self.weight)? / self.first_loss;
        record.metric("loss", loss);
        if loss <= self.settings.target {
            self.reached = Some(record.step() + 1);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        match self.reached {
            Some(step) => record.measure("steps_to_target", step as f64),
            None => record.censored("steps_to_target", self.settings.steps as f64),
        }
        Ok(())
    }
}

fn loss(curvature: &Tensor, weight: &Tensor) -> candle_core::Result<f64> {
    (curvature * weight.sqr()?)?.sum_all()?.to_scalar::<f64>().map(|sum| sum / 2.0)
}

/// The whole state that the next step depends on.
impl Stateful for Descent {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put_tensor("weight", &self.weight);
        snapshot.put_tensor("velocity", &self.velocity);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        let device: &Device = self.weight.device();
        self.velocity = snapshot.get_tensor("velocity")?.to_device(device)?;
        self.weight = snapshot.get_tensor("weight")?.to_device(device)?;
        Ok(())
    }
}
