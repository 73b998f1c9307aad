//! An experiment as the harness sees it, and the registry of all there are.

use candle_core::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arm::Arm;
use crate::config::{self, ConfigError, Node};
use crate::error::{BoxError, Error, Result};
use crate::spec::{Role, Spec};

/// The text of a `spec.toml` and the name under which messages show it.
#[derive(Debug, Clone, Copy)]
pub struct SpecText {
    /// The file as a person would look for it.
    pub file: &'static str,
    /// Its content, from `include_str!`.
    pub text: &'static str,
}

/// What an experiment's module provides: its spec, its settings, and how to build one arm.
pub trait Experiment: Send + Sync + 'static {
    /// The settings of one arm, all of them: derive `Serialize`, `Deserialize` and
    /// `#[serde(deny_unknown_fields)]`, and give no defaults, so that the spec shows every value.
    type Settings: Serialize + DeserializeOwned;

    /// The spec.
    const SPEC: SpecText;

    /// The data that these settings draw on; empty where there is none.
    fn data(settings: &Self::Settings) -> std::result::Result<Vec<DataSource>, BoxError>;

    /// Builds the arm that these settings describe.
    fn arm(
        settings: Self::Settings,
        context: &Context,
    ) -> std::result::Result<Box<dyn Arm>, BoxError>;
}

/// What an arm is built for, besides its settings.
#[derive(Debug, Clone)]
pub struct Context {
    /// The seed of every random stream.
    pub seed: u64,
    /// Whether the run reports or tunes: it decides which split is measured.
    pub role: Role,
    /// Where tensors live.
    pub device: Device,
}

/// A data set that a run reads, for its key and for the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DataSource {
    /// Its name, such as `digits`.
    pub name: String,
    /// The digest of its decoded content.
    pub digest: String,
    /// Its licence.
    pub licence: String,
    /// How to cite it.
    pub citation: String,
}

/// One registered experiment.
pub(crate) struct Entry {
    /// Its spec.
    pub(crate) spec: Spec,
    code: Box<dyn Code>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("spec", &self.spec.name).finish_non_exhaustive()
    }
}

impl Entry {
    /// The settings in their one canonical form: read into their type and written again, so that
    /// `1` and `1.0` for a real number are the same run.
    pub(crate) fn canonical(
        &self,
        settings: &Node,
    ) -> std::result::Result<toml::Table, ConfigError> {
        self.code.canonical(settings)
    }

    pub(crate) fn data(&self, settings: &toml::Table) -> Result<Vec<DataSource>> {
        self.code
            .data(settings)
            .map_err(|error| Error::Usage(format!("{}: {error}", self.spec.name)))
    }

    pub(crate) fn arm(
        &self,
        settings: &toml::Table,
        context: &Context,
    ) -> std::result::Result<Box<dyn Arm>, BoxError> {
        self.code.arm(settings, context)
    }
}

/// The experiments that a binary offers.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Vec<Entry>,
    broken: Vec<ConfigError>,
}

impl Registry {
    /// A registry with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an experiment. A spec that is wrong is reported when the command line starts, so that
    /// registering stays a plain list.
    #[must_use]
    pub fn with<E: Experiment>(mut self) -> Self {
        match entry::<E>() {
            Ok(entry) if self.entries.iter().any(|other| other.spec.name == entry.spec.name) => {
                let message =
                    format!("two experiments are called `{}`; rename one", entry.spec.name);
                self.broken.push(ConfigError::at(&entry.spec.origin, "name", message));
            }
            Ok(entry) => self.entries.push(entry),
            Err(error) => self.broken.push(error),
        }
        self
    }

    /// All experiments, or the first spec that is wrong.
    pub(crate) fn checked(&self) -> Result<&[Entry]> {
        match self.broken.first() {
            Some(error) => Err(error.clone().into()),
            None => Ok(&self.entries),
        }
    }

    /// The experiment called `name`; the error proposes the nearest.
    pub(crate) fn find(&self, name: &str) -> Result<&Entry> {
        let entries = self.checked()?;
        entries.iter().find(|entry| entry.spec.name == name).ok_or_else(|| {
            let names: Vec<String> = entries.iter().map(|entry| entry.spec.name.clone()).collect();
            let near =
                config::nearest(name, &names).map(|near| format!("; did you mean `{near}`?"));
            Error::Usage(format!(
                "no experiment is called `{name}`{} (there are: {})",
                near.unwrap_or_default(),
                names.join(", ")
            ))
        })
    }
}

fn entry<E: Experiment>() -> std::result::Result<Entry, ConfigError> {
    let spec = Spec::parse(E::SPEC.file, E::SPEC.text)?;
    let code: Box<dyn Code> = Box::new(Typed::<E>(std::marker::PhantomData));
    let entry = Entry { spec, code };
    // Every arm at every scale must be readable: a typo is found at start-up, not after an hour.
    for scale in entry.spec.scales.iter().filter(|scale| scale.not_testable.is_none()) {
        for arm in &entry.spec.arms {
            entry.canonical(&entry.spec.resolve(scale, arm))?;
        }
    }
    Ok(entry)
}

/// [`Experiment`] without its types, so that a registry can hold many.
trait Code: Send + Sync {
    fn canonical(&self, settings: &Node) -> std::result::Result<toml::Table, ConfigError>;
    fn data(&self, settings: &toml::Table) -> std::result::Result<Vec<DataSource>, BoxError>;
    fn arm(
        &self,
        settings: &toml::Table,
        context: &Context,
    ) -> std::result::Result<Box<dyn Arm>, BoxError>;
}

struct Typed<E>(std::marker::PhantomData<fn() -> E>);

impl<E: Experiment> Code for Typed<E> {
    fn canonical(&self, settings: &Node) -> std::result::Result<toml::Table, ConfigError> {
        let typed: E::Settings = config::from_node(settings)?;
        toml::Table::try_from(&typed).map_err(|error| {
            ConfigError::at(&settings.origin, "", format!("cannot be written as TOML: {error}"))
        })
    }

    fn data(&self, settings: &toml::Table) -> std::result::Result<Vec<DataSource>, BoxError> {
        E::data(&settings.clone().try_into()?)
    }

    fn arm(
        &self,
        settings: &toml::Table,
        context: &Context,
    ) -> std::result::Result<Box<dyn Arm>, BoxError> {
        E::arm(settings.clone().try_into()?, context)
    }
}
