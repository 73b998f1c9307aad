//! From the text of a `spec.toml` to a checked [`Spec`].

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{ArmSpec, Figure, Scale, ScaleSpec, Spec, SpecCriterion, Tune};
use crate::config::{self, ConfigError, Node, Value};

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
