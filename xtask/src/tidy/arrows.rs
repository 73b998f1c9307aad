//! Dependencies between the crates point one way.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::{Problem, tree};

/// What a crate may depend on.
struct Allowed {
    name: &'static str,
    /// The Taper crates that it may link.
    taper: &'static [&'static str],
    /// The Taper crates that its build script may use.
    build: &'static [&'static str],
    /// Whether it may know tensors, that is candle.
    tensors: bool,
}

/// Every crate of the workspace, from below to above, also those to come. A crate that is not here has
/// no place yet: give it one.
const ALLOWED: [Allowed; 14] = [
    linked("taper-kernels", &[]).without_tensors(),
    linked("taper-core", &["taper-kernels"]),
    linked("taper-losses", &["taper-kernels", "taper-core"]),
    linked("taper-norm", &["taper-kernels", "taper-core"]),
    linked("taper-bottleneck", &["taper-core", "taper-losses", "taper-norm"]),
    linked("taper-autoencoders", &["taper-core", "taper-losses", "taper-norm", "taper-bottleneck"]),
    linked("taper-classical", &["taper-kernels"]).without_tensors(),
    linked("taper-data", &["taper-core"]),
    linked("taper-report", &[]).without_tensors(),
    linked("taper-lab", &["taper-core", "taper-report"]),
    linked(
        "taper-experiments",
        &[
            "taper-kernels",
            "taper-core",
            "taper-losses",
            "taper-norm",
            "taper-bottleneck",
            "taper-autoencoders",
            "taper-classical",
            "taper-data",
            "taper-report",
            "taper-lab",
        ],
    )
    .built_with(&["taper-sources"]),
    linked("taper-sources", &[]).without_tensors(),
    linked("taper-benches", &[]),
    linked("xtask", &[]).without_tensors(),
];

const fn linked(name: &'static str, taper: &'static [&'static str]) -> Allowed {
    Allowed { name, taper, build: &[], tensors: true }
}

impl Allowed {
    const fn built_with(self, build: &'static [&'static str]) -> Self {
        Self { build, ..self }
    }

    const fn without_tensors(self) -> Self {
        Self { tensors: false, ..self }
    }
}

/// Compares the `[dependencies]` and `[build-dependencies]` of every workspace member with the table
/// of allowed arrows. Development dependencies are free.
pub fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for member in tree::members(root)? {
        let path = member.join("Cargo.toml");
        let manifest: Table = tree::read(root, &path)?
            .parse()
            .with_context(|| format!("parsing {}", path.display()))?;
        let package = manifest.get("package").and_then(|package| package.get("name")?.as_str());
        let package = package.with_context(|| format!("{}: no package name", path.display()))?;
        let Some(allowed) = ALLOWED.iter().find(|allowed| allowed.name == package) else {
            let message =
                format!("{package} has no place among the crates; give it one in {}", file!());
            problems.push(Problem::new(&path, 0, message));
            continue;
        };
        for (kind, may) in [("dependencies", allowed.taper), ("build-dependencies", allowed.build)]
        {
            let names = dependencies(&manifest, kind);
            let refused = names.filter_map(|name| refusal(allowed, kind, may, name));
            problems.extend(refused.map(|message| Problem::new(&path, 0, message)));
        }
    }
    Ok(problems)
}

/// Why the crate may not have the dependency `name`, if so.
fn refusal(allowed: &Allowed, kind: &str, may: &[&str], name: &str) -> Option<String> {
    let package = allowed.name;
    if name.starts_with("candle-") && !allowed.tensors {
        return Some(format!("{package} knows no tensors, but [{kind}] has {name}"));
    }
    let ours = name.starts_with("taper-") || name == "xtask";
    (ours && !may.contains(&name)).then(|| {
        let may = if may.is_empty() { "none of Taper's crates".to_owned() } else { may.join(", ") };
        format!("against the arrows: [{kind}] of {package} has {name}; it may have {may}")
    })
}

/// The packages in the tables called `kind`, also those for some targets only.
fn dependencies<'a>(manifest: &'a Table, kind: &'a str) -> impl Iterator<Item = &'a str> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let of_targets = targets
        .into_iter()
        .flat_map(move |targets| targets.values().filter_map(move |target| target.get(kind)));
    manifest.get(kind).into_iter().chain(of_targets).filter_map(Value::as_table).flatten().map(
        |(key, entry)| {
            let renamed = entry.get("package").and_then(Value::as_str);
            renamed.unwrap_or(key)
        },
    )
}
