//! `spec.toml`: the question, the claim, the arms, the settings at each scale, the criteria.
//!
//! An arm's settings are `[settings]`, then the scale's, then the arm's own, then what tuning chose
//! for it, then the overrides of the command line; each lays its keys over the last.

mod figure;
mod parse;
mod tune;

use serde::{Deserialize, Serialize};

use crate::config::{Node, Origin};
use crate::criterion::Criterion;

pub(crate) use figure::{Figure, Without};
pub(crate) use tune::{Goal, Tune, from_toml_table};

/// The first seed of reporting runs; tuning and development stay below it.
pub(crate) const FIRST_REPORTING_SEED: u64 = 1000;

/// How much work a run of the experiment is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// A few steps, to see that it runs; never a verdict worth quoting.
    Smoke,
    /// On the embedded data, seconds an arm.
    Quick,
    /// The paper's data and sizes as far as a CPU carries them.
    Paper,
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Paper => "paper",
        })
    }
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Its numbers go into the report: evaluate on the test split.
    Report,
    /// It chooses settings: evaluate on a validation split taken from the training part.
    Tune,
}

/// An experiment's spec, checked.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// The experiment's name, in kebab-case.
    pub(crate) name: String,
    /// The question it answers.
    pub(crate) question: String,
    /// The claim it tests.
    pub(crate) claim: String,
    /// Where the claim is made.
    pub(crate) source: String,
    /// A link to the source.
    pub(crate) url: Option<String>,
    /// The scales, smallest first.
    pub(crate) scales: Vec<ScaleSpec>,
    /// The arms, in the order of the file.
    pub(crate) arms: Vec<ArmSpec>,
    /// How settings were tuned.
    pub(crate) tune: Option<Tune>,
    /// The criteria; the verdict at a scale is the compound of those that apply there.
    pub(crate) criteria: Vec<SpecCriterion>,
    /// The figures of the report.
    pub(crate) figures: Vec<Figure>,
    /// The place of the spec.
    pub(crate) origin: Origin,
    settings: Node,
}

/// One scale of a spec.
#[derive(Debug, Clone)]
pub(crate) struct ScaleSpec {
    /// Which.
    pub(crate) scale: Scale,
    /// The number of reporting seeds.
    pub(crate) seeds: u64,
    /// Why the claim cannot be tested at this scale, where it cannot.
    pub(crate) not_testable: Option<String>,
    settings: Node,
}

/// One arm of a spec.
#[derive(Debug, Clone)]
pub(crate) struct ArmSpec {
    /// Its key in the file.
    pub(crate) name: String,
    /// Its name for people.
    pub(crate) title: String,
    settings: Node,
}

/// A criterion and the scales at which it applies.
#[derive(Debug, Clone)]
pub(crate) struct SpecCriterion {
    /// What is asked.
    pub(crate) criterion: Criterion,
    /// Where; everywhere when empty.
    scales: Vec<Scale>,
}
impl Spec {
    /// The scale, if the experiment has it.
    pub(crate) fn scale(&self, scale: Scale) -> Option<&ScaleSpec> {
        self.scales.iter().find(|candidate| candidate.scale == scale)
    }

    /// The criteria that apply at `scale`.
    pub(crate) fn criteria_at(&self, scale: Scale) -> impl Iterator<Item = &Criterion> {
        self.criteria
            .iter()
            .filter(move |criterion| {
                criterion.scales.is_empty() || criterion.scales.contains(&scale)
            })
            .map(|criterion| &criterion.criterion)
    }

    /// The settings of `arm` at `scale`, before overrides.
    pub(crate) fn resolve(&self, scale: &ScaleSpec, arm: &ArmSpec) -> Node {
        let mut settings = self.untuned(scale, arm);
        if let Some(winner) = self.winner(scale.scale, &arm.name) {
            settings.merge(&from_toml_table(winner, &self.origin));
        }
        settings
    }

    /// The same without what tuning chose: where trials start from.
    pub(crate) fn untuned(&self, scale: &ScaleSpec, arm: &ArmSpec) -> Node {
        let mut settings = self.settings.clone();
        settings.merge(&scale.settings);
        settings.merge(&arm.settings);
        settings
    }

    /// What tuning chose for `arm` at `scale`.
    pub(crate) fn winner(&self, scale: Scale, arm: &str) -> Option<&toml::Table> {
        self.tune.as_ref()?.winners.get(&scale)?.get(arm)
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value;
    use crate::toy::SPEC;

    fn message(text: &str) -> String {
        Spec::parse("spec.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn settings_are_laid_over_each_other_in_order() {
        let text = format!(
            "{SPEC}\n[tune]\ngrid = {{ rate = [0.1, 0.3] }}\nmeasure = \"final\"\ngoal = \"lower\"\n\
             split = \"validation\"\nseeds = [1]\n[tune.winners.smoke]\nslow = {{ rate = 0.1 }}\n\
             fast = {{ rate = 0.3 }}\n"
        );
        let spec = Spec::parse("spec.toml", &text).unwrap();
        let value = |scale, arm: usize, key| {
            let settings = spec.resolve(spec.scale(scale).unwrap(), &spec.arms[arm]);
            settings.get(key).unwrap().value.clone()
        };
        assert_eq!(value(Scale::Quick, 0, "steps"), Value::Integer(20));
        assert_eq!(value(Scale::Smoke, 0, "steps"), Value::Integer(3));
        assert_eq!(value(Scale::Quick, 1, "rate"), Value::Real(0.2));
        assert_eq!(value(Scale::Smoke, 1, "rate"), Value::Real(0.3));
        assert_eq!(spec.arms[0].title, "Slow decay");
        assert_eq!(spec.arms[1].title, "fast");
    }

    #[test]
    fn a_double_arm_is_named_with_its_line() {
        let text = SPEC.replace("[arms.fast]", "[arms.slow]");
        let line = text.lines().position(|line| line == "rate = 0.2").unwrap();
        assert_eq!(
            message(&text),
            format!(
                "spec.toml:{line}: `slow` is defined twice; keep one of the two, or rename one"
            )
        );
    }

    #[test]
    fn a_criterion_of_an_unknown_arm_and_an_unknown_scale_are_named() {
        let text = SPEC.replace("treatment = \"fast\"", "treatment = \"fats\"");
        assert!(
            message(&text).contains("no arm is called `fats`; did you mean fast?"),
            "{}",
            message(&text)
        );
        let text = SPEC.replace("[scales.quick]", "[scales.qick]");
        assert!(message(&text).contains("no such choice \"qick\"; did you mean \"quick\"?"));
        let text = SPEC.replace("question =", "qestion =");
        assert!(message(&text).contains("unknown key `qestion`; did you mean `question`?"));
        let text = SPEC.replace("direction = \"lower\"", "directon = \"lower\"");
        assert!(message(&text).contains("unknown key `directon`"), "{}", message(&text));
    }

    #[test]
    fn tuning_may_not_use_reporting_seeds_nor_record_winners_off_the_grid() {
        let tune = |seeds: &str, winners: &str| {
            format!(
                "{SPEC}\n[tune]\ngrid = {{ rate = [0.1, 0.3] }}\nmeasure = \"final\"\ngoal = \"lower\"\n\
                 split = \"validation\"\nseeds = [{seeds}]\n{winners}"
            )
        };
        assert!(message(&tune("1, 1000", "")).contains("seed 1000 is a reporting seed"));
        assert!(message(&tune("", "")).contains("at least one tuning seed"));
        let winners = "[tune.winners.quick]\nslow = { rate = 0.1 }\n";
        assert!(message(&tune("1", winners)).contains("the arm `fast` has no winner"));
        let winners = "[tune.winners.quick]\nslow = { rate = 0.1 }\nfast = { rate = 0.2 }\n";
        assert!(message(&tune("1", winners)).contains("no point of the grid"));
    }

    #[test]
    fn every_arm_gets_the_same_trials() {
        let tune: Tune = toml::from_str(
            "grid = { a = [1, 2, 3], b = [true, false] }\nmeasure = \"m\"\ngoal = \"higher\"\n\
             split = \"validation\"\nseeds = [1]",
        )
        .unwrap();
        let trials = tune.trials();
        assert_eq!(trials.len(), 6);
        assert!(trials.iter().all(|trial| trial.len() == 2));
    }
}
