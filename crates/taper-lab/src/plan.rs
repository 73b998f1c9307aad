//! What there is to run: arms times seeds, each with its settings and key.

use crate::config::{ConfigError, Node, Origin};
use crate::error::{Error, Result};
use crate::experiment::{DataSource, Entry};
use crate::key::{DeviceKind, FORMAT, RunKey};
use crate::spec::{ArmSpec, FIRST_REPORTING_SEED, Role, Scale, ScaleSpec};

/// An experiment at a scale, as the command line asked for it.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// The experiment.
    pub(crate) entry: &'a Entry,
    /// The scale, one that the experiment has.
    pub(crate) scale: &'a ScaleSpec,
    /// The seeds.
    pub(crate) seeds: Vec<u64>,
    /// What `--set` said, in order.
    pub(crate) overrides: Vec<String>,
}

/// What every run of this process has in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machinery<'a> {
    /// The digest of the sources.
    pub(crate) sources: &'a str,
    /// Where tensors live.
    pub(crate) device: DeviceKind,
}

/// One run to be made or found.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// The experiment.
    pub(crate) entry: &'a Entry,
    /// Its key.
    pub(crate) key: RunKey,
    /// The data it reads.
    pub(crate) data: Vec<DataSource>,
}

impl<'a> Selection<'a> {
    /// The reporting runs of `entry` at `scale`, with `seeds` in place of the spec's number if given.
    pub(crate) fn new(
        entry: &'a Entry,
        scale: Scale,
        seeds: Option<u64>,
        overrides: &[String],
    ) -> Result<Self> {
        let found = entry.spec.scale(scale).ok_or_else(|| {
            let scales: Vec<String> =
                entry.spec.scales.iter().map(|scale| scale.scale.to_string()).collect();
            Error::Usage(format!(
                "{} has no scale `{scale}`; choose one of: {}",
                entry.spec.name,
                scales.join(", ")
            ))
        })?;
        let count = seeds.unwrap_or(found.seeds);
        Ok(Self {
            entry,
            scale: found,
            seeds: (FIRST_REPORTING_SEED..FIRST_REPORTING_SEED + count).collect(),
            overrides: overrides.to_vec(),
        })
    }

    /// Every run of the selection, seed by seed, so that an interrupted plan has whole pairs.
    pub(crate) fn runs(&self, machinery: Machinery<'_>) -> Result<Vec<Run<'a>>> {
        let mut arms = Vec::new();
        for arm in &self.entry.spec.arms {
            let settings = self.settings(arm)?;
            let data = self.entry.data(&settings)?;
            arms.push((arm, settings, data));
        }
        let mut runs = Vec::new();
        for seed in &self.seeds {
            for (arm, settings, data) in &arms {
                runs.push(Run::new(
                    self.entry,
                    &arm.name,
                    (*seed, Role::Report),
                    settings.clone(),
                    data.clone(),
                    machinery,
                ));
            }
        }
        Ok(runs)
    }

    /// The settings of `arm`, overrides laid over, in canonical form.
    pub(crate) fn settings(&self, arm: &ArmSpec) -> Result<toml::Table> {
        let mut settings = self.entry.spec.resolve(self.scale, arm);
        for text in &self.overrides {
            if let Some(node) = self.override_for(arm, text)? {
                settings.merge(&node);
            }
        }
        Ok(self.entry.canonical(&settings)?)
    }

    /// What `--set text` means for `arm`: nothing when it names another arm.
    fn override_for(&self, arm: &ArmSpec, text: &str) -> Result<Option<Node>> {
        let (parts, node) = Node::parse_override(text)?;
        match parts.as_slice() {
            [first, name, rest @ ..] if first == "arms" => {
                let names: Vec<String> =
                    self.entry.spec.arms.iter().map(|arm| arm.name.clone()).collect();
                if !names.contains(name) {
                    let origin = Origin::Override(text.into());
                    return Err(ConfigError::unknown_key(&origin, "arms", name, names).into());
                }
                if rest.is_empty() {
                    let origin = Origin::Override(text.into());
                    let message = "names an arm but none of its settings: arms.NAME.KEY=VALUE";
                    return Err(ConfigError::at(&origin, "", message).into());
                }
                Ok((name == &arm.name).then(|| Node::nested(rest, node)))
            }
            _ => Ok(Some(Node::nested(&parts, node))),
        }
    }
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        entry: &'a Entry,
        arm: &str,
        (seed, role): (u64, Role),
        settings: toml::Table,
        data: Vec<DataSource>,
        machinery: Machinery<'_>,
    ) -> Self {
        let digests = data
            .iter()
            .map(|source| (source.name.clone(), toml::Value::String(source.digest.clone())))
            .collect();
        let key = RunKey {
            format: FORMAT,
            experiment: entry.spec.name.clone(),
            arm: arm.to_owned(),
            seed,
            role,
            data: digests,
            device: machinery.device.key(),
            sources: machinery.sources.to_owned(),
            settings,
        };
        Self { entry, key, data }
    }
}
