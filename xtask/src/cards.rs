//! The doc cards of the public units: a loss, a norm, a layer, an optimizer.
//!
//! A unit is a public item whose documentation has the headings of [`HEADINGS`]. In a unit crate every
//! source file holds one, but for those listed as shared.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::tree;

/// A card's headings, in their order.
pub(crate) const HEADINGS: [&str; 8] = [
    "Equation",
    "Shapes",
    "Parameters",
    "Numerics",
    "Deviations",
    "Errors",
    "References",
    "Example",
];

/// A crate of units.
struct UnitCrate {
    name: &'static str,
    /// Its files and folders below `src` that hold no unit.
    shared: &'static [&'static str],
}

/// The crates whose files are units.
const UNIT_CRATES: [UnitCrate; 5] = [
    UnitCrate {
        name: "taper-core",
        shared: &[
            "lib.rs",
            "convolution.rs",
            "error.rs",
            "op",
            "op.rs",
            "optim.rs",
            "optim/group.rs",
            "optim/memory.rs",
            "optim/moments.rs",
            "optim/step.rs",
            "parameters",
            "parameters.rs",
            "planes.rs",
            "state.rs",
            "stream.rs",
            "testing",
            "testing.rs",
            "window.rs",
        ],
    },
    UnitCrate {
        name: "taper-losses",
        shared: &[
            "lib.rs",
            "arguments.rs",
            "classes.rs",
            "classification.rs",
            "classification/overlap.rs",
            "composition.rs",
            "composition/penalty.rs",
            "divergence.rs",
            "divergence/distribution.rs",
            "elements.rs",
            "elementwise.rs",
            "embeddings.rs",
            "fused.rs",
            "metric.rs",
            "options.rs",
            "regression.rs",
            "target.rs",
        ],
    },
    UnitCrate {
        name: "taper-norm",
        shared: &[
            "lib.rs",
            "affine.rs",
            "arguments.rs",
            "batch.rs",
            "batch/normalize",
            "batch/normalize.rs",
            "batch/running.rs",
            "diagnostics.rs",
            "diagnostics/slope.rs",
            "sample.rs",
            "sample/fused.rs",
            "sample/masked.rs",
            "sample/terms.rs",
            "weight.rs",
            "weight/parameters.rs",
        ],
    },
    UnitCrate {
        name: "taper-bottleneck",
        shared: &[
            "lib.rs",
            "block.rs",
            "block/branch_end.rs",
            "block/norm_activation.rs",
            "block/pre_activation.rs",
            "count",
            "count.rs",
            "network.rs",
        ],
    },
    UnitCrate { name: "taper-classical", shared: &["lib.rs", "error.rs", "matrix.rs"] },
];

/// A public item and its documentation.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// The crate's name.
    pub(crate) package: &'static str,
    /// The file, relative to the root.
    pub(crate) path: PathBuf,
    /// The item's name.
    pub(crate) name: String,
    /// The documentation before the first heading.
    pub(crate) summary: String,
    /// The sections: heading and text, in order.
    pub(crate) sections: Vec<(String, String)>,
}

impl Unit {
    /// The text under a heading.
    pub(crate) fn section(&self, heading: &str) -> Option<&str> {
        let section = self.sections.iter().find(|(name, _)| name == heading);
        section.map(|(_, text)| text.as_str())
    }

    /// Whether this has a card, if an incomplete one. Errors and Example are headings elsewhere too.
    pub(crate) fn has_card(&self) -> bool {
        HEADINGS.iter().any(|it| *it != "Errors" && *it != "Example" && self.section(it).is_some())
    }
}

/// The units of all unit crates, in the order of crates and files.
pub(crate) fn units(root: &Path) -> Result<Vec<Unit>> {
    let files = unit_files(root)?;
    Ok(files.into_iter().flat_map(|(_, items)| items).filter(Unit::has_card).collect())
}

/// The files that are to hold units, with their public items.
pub(crate) fn unit_files(root: &Path) -> Result<Vec<(PathBuf, Vec<Unit>)>> {
    let mut files = Vec::new();
    for UnitCrate { name, shared } in UNIT_CRATES {
        let folder = Path::new("crates").join(name).join("src");
        let is_shared = |path: &Path| shared.iter().any(|it| path.starts_with(folder.join(it)));
        for (path, text) in tree::texts(root, &folder, "rs")? {
            // The file `unit/part.rs` is a part of `unit.rs`.
            let whole = path.parent().map(|parent| parent.with_extension("rs"));
            let is_part = whole.is_some_and(|it| root.join(&it).is_file() && !is_shared(&it));
            if !is_shared(&path) && !is_part {
                let items = items(name, &path, &text);
                files.push((path, items));
            }
        }
    }
    Ok(files)
}

/// The public items of a formatted file, in which those start at the left margin.
fn items(package: &'static str, path: &Path, text: &str) -> Vec<Unit> {
    let mut items = Vec::new();
    let mut documentation = Vec::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("///") {
            documentation.push(line.strip_prefix(' ').unwrap_or(line));
        } else if !line.starts_with(['#', ' ', ')', ']']) {
            // Attributes may stand between an item and its documentation, nothing else.
            if let Some(name) = item_name(line) {
                let (summary, sections) = sections(&documentation);
                let path = path.to_path_buf();
                items.push(Unit { package, path, name, summary, sections });
            }
            documentation.clear();
        }
    }
    items
}

/// The name in `pub fn name(`, `pub struct Name<` and their like.
fn item_name(line: &str) -> Option<String> {
    let declaration = line.strip_prefix("pub ")?;
    let kinds = ["fn ", "struct ", "enum ", "trait "];
    let name = kinds.iter().find_map(|kind| declaration.strip_prefix(kind))?;
    let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    Some(name[..end.unwrap_or(name.len())].to_owned())
}

/// Documentation as what comes before its headings, and what under each. Code has no headings.
fn sections(documentation: &[&str]) -> (String, Vec<(String, String)>) {
    let mut parts = vec![(String::new(), Vec::new())];
    let mut code = false;
    for line in documentation {
        code ^= line.trim_start().starts_with("```");
        match (line.strip_prefix("# "), parts.last_mut()) {
            (Some(heading), _) if !code => parts.push((heading.trim().to_owned(), Vec::new())),
            (_, Some((_, text))) => text.push(*line),
            (_, None) => {}
        }
    }
    let mut parts = parts.into_iter().map(|(name, text)| (name, text.join("\n").trim().to_owned()));
    let summary = parts.next().map(|(_, text)| text).unwrap_or_default();
    (summary, parts.collect())
}
