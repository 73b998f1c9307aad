use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::manifest::table;
use crate::{Error, Result};

/// The packages of a Cargo.lock.
pub(crate) struct Lock {
    pub(crate) path: PathBuf,
    /// By name; a name can be there in several versions.
    packages: BTreeMap<String, Vec<Package>>,
}

/// One `[[package]]`.
struct Package {
    name: String,
    version: String,
    /// Where it is from; a path package has none.
    source: Option<String>,
    /// What was downloaded; a package from git has none, its source names the commit.
    checksum: Option<String>,
    /// Its dependencies as the file has them: the name, and where that does not tell, the version.
    dependencies: Vec<String>,
}

impl Lock {
    /// The Cargo.lock in `folder` or the nearest above it, which is the one that cargo keeps.
    pub(crate) fn above(folder: &Path) -> Result<Option<Self>> {
        let mut candidates = folder.ancestors().map(|folder| folder.join("Cargo.lock"));
        let Some(path) = candidates.find(|path| path.is_file()) else {
            return Ok(None);
        };
        let mut packages: BTreeMap<String, Vec<Package>> = BTreeMap::new();
        let entries = table(&path)?;
        for entry in entries.get("package").and_then(Value::as_array).into_iter().flatten() {
            let package = entry.as_table().and_then(Package::read).ok_or_else(|| {
                Error::manifest(&path, "expected [[package]] with name and version")
            })?;
            packages.entry(package.name.clone()).or_default().push(package);
        }
        Ok(Some(Self { path, packages }))
    }

    /// One line for each package outside the repository that those called `names` need: so what only
    /// a test, a bench or another crate needs does not count.
    pub(crate) fn reachable(&self, names: &BTreeSet<&str>) -> BTreeSet<String> {
        let mut waiting: Vec<&str> = names.iter().copied().collect();
        let mut seen = BTreeSet::new();
        let mut lines = BTreeSet::new();
        while let Some(reference) = waiting.pop() {
            if !seen.insert(reference) {
                continue;
            }
            for package in self.find(reference) {
                // A path package's entry also lists what its tests need; its sources are read instead.
                if let Some(source) = &package.source {
                    let Package { name, version, .. } = package;
                    let checksum = package.checksum.as_deref().unwrap_or_default();
                    lines.insert(format!("locked {name} {version} {source} {checksum}"));
                    waiting.extend(package.dependencies.iter().map(String::as_str));
                }
            }
        }
        lines
    }

    /// The packages that `name` or `name version` stands for: none where it is an optional dependency
    /// that nothing switches on, several where a Cargo.toml's name alone does not tell the version.
    fn find<'a>(&'a self, reference: &'a str) -> impl Iterator<Item = &'a Package> {
        let mut words = reference.split(' ');
        let name = words.next().unwrap_or_default();
        let version = words.next();
        let packages = self.packages.get(name).into_iter().flatten();
        packages.filter(move |package| version.is_none_or(|version| package.version == version))
    }
}

impl Package {
    fn read(entry: &Table) -> Option<Self> {
        let text = |key: &str| Some(entry.get(key)?.as_str()?.to_owned());
        let dependencies = entry.get("dependencies").and_then(Value::as_array);
        Some(Self {
            name: text("name")?,
            version: text("version")?,
            source: text("source"),
            checksum: text("checksum"),
            dependencies: dependencies
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect(),
        })
    }
}
