use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::{Error, LEFT_OUT, Result};

/// What one Cargo.toml says about the sources that are linked.
pub(crate) struct Manifest {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    /// The folders of the dependencies by path.
    pub(crate) by_path: Vec<PathBuf>,
    /// The other dependencies.
    pub(crate) outside: Vec<Outside>,
}

/// A dependency that comes from a registry or a git repository. Its version is for Cargo.lock to
/// say; which features are asked for stands only here, and a feature can change numbers.
pub(crate) struct Outside {
    pub(crate) name: String,
    features: BTreeSet<String>,
    default_features: bool,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, features, default_features } = self;
        write!(f, "{name} {features:?} default-features={default_features}")
    }
}

/// Where a workspace's root is and what its `[workspace.dependencies]` holds.
struct Workspace {
    path: PathBuf,
    dependencies: Table,
}

impl Manifest {
    /// Reads the Cargo.toml in `folder`; adds what it read to `read`.
    pub(crate) fn read(folder: &Path, read: &mut BTreeSet<PathBuf>) -> Result<Self> {
        let path = folder.join("Cargo.toml");
        let table = table(&path)?;
        read.insert(path.clone());
        let name = table
            .get("package")
            .and_then(|package| package.get("name")?.as_str())
            .ok_or_else(|| Error::manifest(&path, "expected [package] with a name"))?
            .to_owned();
        let mut manifest =
            Self { folder: folder.to_path_buf(), name, by_path: vec![], outside: vec![] };
        let mut workspace = None;
        for (name, entry) in dependencies(&table) {
            let inherits = entry.get("workspace").and_then(Value::as_bool) == Some(true);
            if inherits && workspace.is_none() {
                workspace = Some(Workspace::above(folder)?);
            }
            match workspace.as_ref().filter(|_| inherits) {
                Some(root) => {
                    read.insert(root.path.clone());
                    manifest.add(name, root.entry(name, &path)?, root.folder(), entry);
                }
                None => manifest.add(name, entry, folder, entry),
            }
        }
        Ok(manifest)
    }

    /// Adds the dependency that `entry` describes, relative to `folder`; `own` is the package's own
    /// entry, whose features come on top of what it inherits.
    fn add(&mut self, key: &str, entry: &Value, folder: &Path, own: &Value) {
        if let Some(path) = entry.get("path").and_then(Value::as_str) {
            self.by_path.push(folder.join(path));
            return;
        }
        let name = entry.get("package").and_then(Value::as_str).unwrap_or(key);
        if LEFT_OUT.contains(&name) {
            return;
        }
        let features = [entry, own]
            .into_iter()
            .filter_map(|entry| entry.get("features")?.as_array())
            .flatten()
            .filter_map(|feature| Some(feature.as_str()?.to_owned()))
            .collect();
        let default_features =
            entry.get("default-features").and_then(Value::as_bool).unwrap_or(true);
        let name = name.to_owned();
        self.outside.push(Outside { name, features, default_features });
    }
}

impl Workspace {
    /// The workspace that the package in `folder` belongs to: its own, or the nearest above.
    fn above(folder: &Path) -> Result<Self> {
        let manifests = folder.ancestors().map(|folder| folder.join("Cargo.toml"));
        for path in manifests.filter(|path| path.is_file()) {
            if let Some(Value::Table(workspace)) = table(&path)?.remove("workspace") {
                let dependencies = match workspace.get("dependencies") {
                    Some(Value::Table(dependencies)) => dependencies.clone(),
                    _ => Table::new(),
                };
                return Ok(Self { path, dependencies });
            }
        }
        let reason =
            "inherits a dependency (`workspace = true`), but no Cargo.toml above has [workspace]";
        Err(Error::manifest(&folder.join("Cargo.toml"), reason))
    }

    /// What the workspace says about the dependency `name`, which the Cargo.toml at `heir` inherits.
    fn entry(&self, name: &str, heir: &Path) -> Result<&Value> {
        self.dependencies.get(name).ok_or_else(|| {
            let root = self.path.display();
            let reason =
                format!("inherits {name:?}, which [workspace.dependencies] of {root} lacks");
            Error::manifest(heir, reason)
        })
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }
}

/// The entries of `[dependencies]` and of every `[target.'...'.dependencies]`.
fn dependencies(manifest: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let of_targets = targets
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(|target| target.get("dependencies")));
    manifest.get("dependencies").into_iter().chain(of_targets).filter_map(Value::as_table).flatten()
}

/// A TOML file.
pub(crate) fn table(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).map_err(Error::read(path))?;
    text.parse().map_err(|error: toml::de::Error| Error::manifest(path, error.to_string()))
}
