//! A tiny experiment for the harness's own tests: a number decays with noise, at two rates.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful, Stream};

use crate::arm::{Arm, Record};
use crate::error::BoxError;
use crate::experiment::{Context, DataSource, Experiment, SpecText};

pub(crate) const SPEC: &str = r#"
name = "toy"
question = "Does a larger rate decay faster?"
claim = "It does."
source = "made up"

[settings]
steps = 20
fail_at = 1000

[scales.smoke]
seeds = 2
steps = 3

[scales.quick]
seeds = 3

[scales.paper]
not_testable = "there is no paper"

[arms.slow]
title = "Slow decay"
rate = 0.01

[arms.fast]
rate = 0.2

[[criteria]]
name = "The fast one ends lower"
kind = "difference"
measure = "final"
treatment = "fast"
baseline = "slow"
direction = "lower"
"#;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    steps: u64,
    rate: f64,
    /// The step that fails; beyond `steps` none does.
    fail_at: u64,
}

pub(crate) struct Toy;

impl Experiment for Toy {
    type Settings = Settings;
    const SPEC: SpecText = SpecText { file: "toy/spec.toml", text: SPEC };

    fn data(_: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(Vec::new())
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        Ok(Box::new(Decay {
            value: 1.0,
            noise: taper_core::stream(context.seed, "noise"),
            settings,
        }))
    }
}

struct Decay {
    value: f64,
    noise: Stream,
    settings: Settings,
}

impl Arm for Decay {
    fn steps(&self) -> u64 {
        self.settings.steps
    }

    fn step(&mut self, record: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        match record.step() == self.settings.fail_at {
            true if self.settings.rate > 0.1 => panic!("asked to panic"),
            true => return Err("asked to fail".into()),
            false => {}
        }
        self.value *= 1.0 - self.settings.rate * (1.0 + 0.1 * self.noise.standard_normal());
        record.metric("value", self.value);
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        record.measure("final", self.value);
        Ok(())
    }
}

impl Stateful for Decay {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put_f64("value", self.value);
        snapshot.put("noise", &self.noise)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        self.value = snapshot.get_f64("value")?;
        snapshot.get("noise", &mut self.noise)
    }
}
