//! Are the cost functions what the textbooks say they are?
//!
//! Each arm is one identity, checked on random cases in f64; a step is one case. The right-hand sides
//! are written out here, from the definitions, and share no code with the losses.

mod cases;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use taper_core::{Snapshot, Stateful, Stream};
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};

pub(crate) struct LossesAreWhatTheySay;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    identity: Identity,
    cases: u64,
    draws: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Identity {
    EntropyPlusKl,
    KlHasAnOrder,
    BinaryIsTwoClass,
    GradientIsPMinusY,
    TargetUpOthersDown,
    MseAtTheMean,
    MaeAtTheMedian,
    GaussianKl,
}

impl Experiment for LossesAreWhatTheySay {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "losses_are_what_they_say/spec.toml", text: include_str!("spec.toml") };

    fn data(_: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(Vec::new())
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        let cases = taper_core::stream(context.seed, "cases");
        Ok(Box::new(Check { settings, cases, largest: 0.0, sum: 0.0 }))
    }
}

/// One identity over many random cases.
struct Check {
    settings: Settings,
    cases: Stream,
    /// The largest |error| of a case so far.
    largest: f64,
    /// The sum of the errors, with their signs.
    sum: f64,
}

impl Arm for Check {
    fn steps(&self) -> u64 {
        self.settings.cases
    }

    fn step(&mut self, _: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        let cases = &mut self.cases;
        let error = match self.settings.identity {
            Identity::EntropyPlusKl => cases::entropy_plus_kl(cases)?,
            Identity::KlHasAnOrder => cases::kl_has_an_order(cases)?,
            Identity::BinaryIsTwoClass => cases::binary_is_two_class(cases)?,
            Identity::GradientIsPMinusY => cases::gradient_is_p_minus_y(cases)?,
            Identity::TargetUpOthersDown => cases::target_up_others_down(cases)?,
            Identity::MseAtTheMean => cases::mse_at_the_mean(cases)?,
            Identity::MaeAtTheMedian => cases::mae_at_the_median(cases)?,
            Identity::GaussianKl => cases::gaussian_kl(cases, self.settings.draws)?,
        };
        // Not `f64::max`, which would lose a NaN.
        if error.is_nan() || error.abs() > self.largest {
            self.largest = error.abs();
        }
        self.sum += error;
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        if self.settings.identity == Identity::GaussianKl {
            record.measure("relative_error", self.sum / self.settings.cases as f64);
        } else {
            record.measure("error", self.largest);
        }
        Ok(())
    }
}

impl Stateful for Check {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put_f64("largest", self.largest);
        snapshot.put_f64("sum", self.sum);
        snapshot.put("cases", &self.cases)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        self.largest = snapshot.get_f64("largest")?;
        self.sum = snapshot.get_f64("sum")?;
        snapshot.get("cases", &mut self.cases)
    }
}
