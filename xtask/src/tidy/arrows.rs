//! Dependencies between the crates point one way.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::{Problem, members};
use crate::tree;

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
    linked(
        "taper-benches",
        &[
            "taper-kernels",
            "taper-core",
            "taper-losses",
            "taper-norm",
            "taper-bottleneck",
            "taper-autoencoders",
        ],
    ),
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
pub(crate) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for member in members(root)? {
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

mod tests {
    use super::check;
    use crate::tidy::{assert_problems, assert_tidy, repository, tree};

    #[test]
    fn the_repository_keeps_the_arrows() {
        assert_tidy(check(&repository()));
    }

    /// The problems of one crate with this manifest.
    fn assert_crate(name: &str, manifest: &str, expected: &[&str]) {
        let manifest = format!("[package]\nname = '{name}'\n{manifest}");
        let root = tree(&[("crates/it/Cargo.toml", &manifest)]);
        assert_problems(check(root.path()), expected);
    }

    #[test]
    fn a_dependency_against_the_arrows_fails() {
        let lab = "[dependencies]\ntaper-norm.workspace = true\ntaper-core.workspace = true";
        assert_crate(
            "taper-lab",
            lab,
            &[
                "crates/it/Cargo.toml: against the arrows: [dependencies] of taper-lab has taper-norm; it may have taper-core, taper-report",
            ],
        );
        assert_crate(
            "taper-core",
            "[dependencies]\ntaper-losses = '0.1'",
            &["has taper-losses; it may have taper-kernels"],
        );
        assert_crate("taper-norm", "[dependencies]\ntaper-losses = '0.1'", &["has taper-losses"]);
        assert_crate(
            "taper-report",
            "[dependencies]\ntaper-core = '0.1'",
            &["it may have none of Taper's crates"],
        );
        assert_crate("xtask", "[dependencies]\ntaper-lab = '0.1'", &["has taper-lab"]);
    }

    #[test]
    fn it_is_found_in_every_table_and_under_another_name() {
        let renamed = "[dependencies]\nnorms = { package = 'taper-norm', version = '0.1' }";
        assert_crate("taper-data", renamed, &["has taper-norm"]);
        let target = "[target.'cfg(unix)'.dependencies]\ntaper-norm = '0.1'";
        assert_crate("taper-data", target, &["has taper-norm"]);
        let build = "[build-dependencies]\ntaper-core = '0.1'";
        assert_crate("taper-data", build, &["[build-dependencies] of taper-data has taper-core"]);
    }

    #[test]
    fn the_sources_digest_is_for_build_scripts() {
        assert_crate("taper-experiments", "[build-dependencies]\ntaper-sources = '0.1'", &[]);
        assert_crate(
            "taper-experiments",
            "[dependencies]\ntaper-sources = '0.1'",
            &["has taper-sources"],
        );
    }

    #[test]
    fn development_dependencies_are_free() {
        assert_crate("taper-core", "[dev-dependencies]\ntaper-losses = '0.1'", &[]);
    }

    #[test]
    fn tensors_are_refused_where_none_are_known() {
        assert_crate(
            "taper-kernels",
            "[dependencies]\ncandle-core = '0.11'",
            &["taper-kernels knows no tensors"],
        );
        assert_crate("taper-norm", "[dependencies]\ncandle-core = '0.11'", &[]);
    }

    #[test]
    fn a_crate_without_a_place_fails() {
        assert_crate("taper-novel", "", &["taper-novel has no place among the crates"]);
    }
}
