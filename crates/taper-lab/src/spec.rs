//! `spec.toml`: the question, the claim, the arms, the settings at each scale, the criteria.
//!
//! An arm's settings are `[settings]`, then the scale's, then the arm's own, then what tuning chose
//! for it, then the overrides of the command line; each lays its keys over the last.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::config::{self, ConfigError, Node, Origin, Value};
use crate::criterion::Criterion;

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

/// The `[tune]` part: a grid, run for every arm with seeds of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tune {
    /// Each key's candidates; a trial is one of each.
    pub(crate) grid: BTreeMap<String, Vec<toml::Value>>,
    /// The measure to choose by.
    pub(crate) measure: String,
    /// Which way is better.
    pub(crate) goal: Goal,
    /// Where the measure is taken.
    pub(crate) split: Split,
    /// The tuning seeds, all below 1000.
    pub(crate) seeds: Vec<u64>,
    /// What was chosen, for each scale and arm.
    #[serde(default)]
    pub(crate) winners: BTreeMap<Scale, BTreeMap<String, toml::Table>>,
}

/// Which way a measure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Goal {
    /// Larger is better.
    Higher,
    /// Smaller is better.
    Lower,
}

/// Where a tuning measure is taken: never on the test split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Split {
    /// A part of the training split that the trial does not train on.
    Validation,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Validation => f.write_str("validation"),
        }
    }
}

/// A figure of the report.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Figure {
    /// A metric over steps: each arm's median over seeds, with the middle half as a band.
    Curve {
        /// The figure's title.
        title: String,
        /// What it shows.
        caption: String,
        /// The metric.
        metric: String,
        /// Whether the vertical axis is logarithmic.
        #[serde(default)]
        log: bool,
    },
    /// Three metrics over steps as a line in a band, a panel an arm, of the first seed.
    Percentiles {
        /// The figure's title.
        title: String,
        /// What it shows.
        caption: String,
        /// The lower, middle and upper metric.
        metrics: [String; 3],
        /// Leaves out runs whose measure ends below a bound, and says how many.
        without: Option<Without>,
    },
    /// A measure of every run: a dot a seed, an arm a column.
    Dots {
        /// The figure's title.
        title: String,
        /// What it shows.
        caption: String,
        /// The measure.
        measure: String,
        /// Whether the vertical axis is logarithmic.
        #[serde(default)]
        log: bool,
    },
}

/// Runs that a figure leaves out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Without {
    /// The measure to look at.
    pub(crate) measure: String,
    /// Runs below this are left out.
    pub(crate) below: f64,
}

/// The keys of a spec that are plain values; the others are taken apart by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    question: String,
    claim: String,
    source: String,
    url: Option<String>,
    #[serde(default)]
    figures: Vec<Figure>,
    tune: Option<Tune>,
    #[serde(rename = "criteria")]
    _criteria: Option<IgnoredAny>,
    #[serde(rename = "settings")]
    _settings: Option<IgnoredAny>,
    #[serde(rename = "scales")]
    _scales: Option<IgnoredAny>,
    #[serde(rename = "arms")]
    _arms: Option<IgnoredAny>,
}

impl Spec {
    /// Reads and checks a spec; `file` is its name in messages.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let root = Node::parse(file, text)?;
        let header: Header = config::from_node(&root)?;
        let scales = scales(&root)?;
        let arms = arms(&root)?;
        let settings = table(&root, "settings")?.unwrap_or_else(|| empty(&root));
        let spec = Self {
            name: header.name,
            question: header.question,
            claim: header.claim,
            source: header.source,
            url: header.url,
            scales,
            arms,
            tune: header.tune,
            criteria: criteria(&root)?,
            figures: header.figures,
            origin: root.origin.clone(),
            settings,
        };
        spec.check(&root)?;
        Ok(spec)
    }

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

    /// What no type can hold: names that refer to each other, and the rules on seeds and grids.
    fn check(&self, root: &Node) -> Result<(), ConfigError> {
        let arm_names: Vec<String> = self.arms.iter().map(|arm| arm.name.clone()).collect();
        for (at, SpecCriterion { criterion, .. }) in self.criteria.iter().enumerate() {
            let wrong = |message: String| {
                let place = root.get("criteria").map_or(&root.origin, |list| match &list.value {
                    Value::List(items) => &items[at].origin,
                    _ => &list.origin,
                });
                ConfigError::at(place, &format!("criteria.{at}"), message)
            };
            for arm in criterion.arms() {
                if !arm_names.iter().any(|name| name == arm) {
                    let near = config::nearest(arm, &arm_names).unwrap_or("one of [arms]");
                    return Err(wrong(format!("no arm is called `{arm}`; did you mean {near}?")));
                }
            }
            criterion.check().map_err(|error| wrong(error.to_string()))?;
        }
        let unjudged = |scale: &&ScaleSpec| self.criteria_at(scale.scale).next().is_none();
        if let Some(scale) = self.scales.iter().find(unjudged) {
            let message = format!("no [[criteria]] table applies at the scale `{}`", scale.scale);
            return Err(ConfigError::at(&root.origin, "", message));
        }
        if let (Some(tune), Some(node)) = (&self.tune, root.get("tune")) {
            tune.check(node, &arm_names)?;
        }
        Ok(())
    }
}

impl Tune {
    /// Every combination of the grid, as tables to lay over an arm's settings.
    pub(crate) fn trials(&self) -> Vec<toml::Table> {
        let mut trials = vec![toml::Table::new()];
        for (key, candidates) in &self.grid {
            trials = trials
                .iter()
                .flat_map(|trial| {
                    candidates.iter().map(move |candidate| {
                        let mut longer = trial.clone();
                        longer.insert(key.clone(), candidate.clone());
                        longer
                    })
                })
                .collect();
        }
        trials
    }

    fn check(&self, node: &Node, arms: &[String]) -> Result<(), ConfigError> {
        let wrong = |path: &str, message: String| Err(ConfigError::at(&node.origin, path, message));
        if self.seeds.is_empty() {
            return wrong("tune.seeds", "give at least one tuning seed".to_owned());
        }
        if let Some(seed) = self.seeds.iter().find(|seed| **seed >= FIRST_REPORTING_SEED) {
            return wrong(
                "tune.seeds",
                format!(
                    "seed {seed} is a reporting seed; tuning seeds stay below {FIRST_REPORTING_SEED}"
                ),
            );
        }
        if let Some((key, _)) = self.grid.iter().find(|(_, candidates)| candidates.is_empty()) {
            return wrong("tune.grid", format!("`{key}` has no candidates"));
        }
        let trials = self.trials();
        for (scale, winners) in &self.winners {
            let path = format!("tune.winners.{scale}");
            for arm in arms {
                match winners.get(arm) {
                    None => {
                        return wrong(
                            &path,
                            format!("the arm `{arm}` has no winner: tune all or none"),
                        );
                    }
                    Some(winner) if !trials.contains(winner) => {
                        return wrong(&path, format!("`{arm}`: {winner} is no point of the grid"));
                    }
                    Some(_) => {}
                }
            }
            if let Some(name) = winners.keys().find(|name| !arms.contains(name)) {
                return Err(ConfigError::unknown_key(&node.origin, &path, name, arms.to_vec()));
            }
        }
        Ok(())
    }
}

fn scales(root: &Node) -> Result<Vec<ScaleSpec>, ConfigError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    struct Key(Scale);

    let node = table(root, "scales")?
        .ok_or_else(|| ConfigError::at(&root.origin, "", "a spec needs at least [scales.quick]"))?;
    let mut scales = Vec::new();
    for (name, content) in node.entries() {
        let text = Node { value: Value::Text(name.clone()), origin: content.origin.clone() };
        let Key(scale) = config::from_node(&text).map_err(|error| error.under("scales"))?;
        let path = format!("scales.{name}");
        let mut settings = content.clone();
        let not_testable: Option<String> = take(&mut settings, "not_testable", &path)?;
        let seeds = take(&mut settings, "seeds", &path)?.unwrap_or(0);
        if seeds == 0 && not_testable.is_none() {
            let message = "`seeds` should be at least 1: the number of reporting seeds";
            return Err(ConfigError::at(&content.origin, &path, message));
        }
        scales.push(ScaleSpec { scale, seeds, not_testable, settings });
    }
    scales.sort_by_key(|scale| scale.scale);
    Ok(scales)
}

fn criteria(root: &Node) -> Result<Vec<SpecCriterion>, ConfigError> {
    let Some(list) = root.get("criteria") else { return Ok(Vec::new()) };
    let Value::List(items) = &list.value else {
        return Err(ConfigError::at(&list.origin, "criteria", "is written as [[criteria]] tables"));
    };
    let mut criteria = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let path = format!("criteria.{at}");
        let mut table = item.clone();
        let scales = take(&mut table, "scales", &path)?.unwrap_or_default();
        let criterion = config::from_node(&table).map_err(|error| error.under(&path))?;
        criteria.push(SpecCriterion { criterion, scales });
    }
    Ok(criteria)
}

fn arms(root: &Node) -> Result<Vec<ArmSpec>, ConfigError> {
    let node = table(root, "arms")?.ok_or_else(|| {
        ConfigError::at(&root.origin, "", "a spec needs at least one [arms.NAME] table")
    })?;
    let mut arms = Vec::new();
    for (name, content) in node.entries() {
        let path = format!("arms.{name}");
        if !matches!(content.value, Value::Table(_)) {
            return Err(ConfigError::at(&content.origin, &path, "an arm is a table: [arms.NAME]"));
        }
        let mut settings = content.clone();
        let title = take(&mut settings, "title", &path)?.unwrap_or_else(|| name.clone());
        arms.push(ArmSpec { name: name.clone(), title, settings });
    }
    Ok(arms)
}

fn table(root: &Node, key: &str) -> Result<Option<Node>, ConfigError> {
    match root.get(key) {
        Some(node) if !matches!(node.value, Value::Table(_)) => Err(ConfigError::at(
            &node.origin,
            key,
            format!("should be a table, got {}", node.describe()),
        )),
        other => Ok(other.cloned()),
    }
}

fn take<T: serde::de::DeserializeOwned>(
    node: &mut Node,
    key: &str,
    path: &str,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = node.remove(key) else {
        return Ok(None);
    };
    config::from_node(&value).map(Some).map_err(|error| error.under(&format!("{path}.{key}")))
}

fn empty(root: &Node) -> Node {
    Node { value: Value::Table(Vec::new()), origin: root.origin.clone() }
}

pub(crate) fn from_toml_table(table: &toml::Table, origin: &Origin) -> Node {
    let entries = table.iter().map(|(key, value)| (key.clone(), from_toml(value, origin)));
    Node { value: Value::Table(entries.collect()), origin: origin.clone() }
}

fn from_toml(value: &toml::Value, origin: &Origin) -> Node {
    let value = match value {
        toml::Value::String(text) => Value::Text(text.clone()),
        toml::Value::Integer(number) => Value::Integer(*number),
        toml::Value::Float(number) => Value::Real(*number),
        toml::Value::Boolean(flag) => Value::Flag(*flag),
        toml::Value::Datetime(date) => Value::Text(date.to_string()),
        toml::Value::Array(items) => {
            Value::List(items.iter().map(|item| from_toml(item, origin)).collect())
        }
        toml::Value::Table(table) => return from_toml_table(table, origin),
    };
    Node { value, origin: origin.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
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
