//! `new`: the skeleton of a crate with an experiment of one's own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::say;
use crate::error::{Error, Result};
use crate::store::write_whole;

/// The files of the skeleton, and where each goes. The worked example of the repository is this
/// skeleton under the name `own-experiment`.
const FILES: [(&str, &str); 8] = [
    (".gitignore", include_str!("../../skeleton/gitignore.in")),
    ("Cargo.toml", include_str!("../../skeleton/Cargo.toml.in")),
    ("build.rs", include_str!("../../skeleton/build.rs.in")),
    ("README.md", include_str!("../../skeleton/README.md.in")),
    ("src/main.rs", include_str!("../../skeleton/src/main.rs.in")),
    ("src/experiment.rs", include_str!("../../skeleton/src/experiment.rs.in")),
    ("src/spec.toml", include_str!("../../skeleton/src/spec.toml.in")),
    ("tests/smoke.rs", include_str!("../../skeleton/tests/smoke.rs.in")),
];

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The crate's and the experiment's name, in kebab-case.
    name: String,
    /// The folder to make the crate's folder in.
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    parent: PathBuf,
    /// Where the Taper crates are, when not from the registry.
    #[arg(long, value_name = "DIR")]
    taper: Option<PathBuf>,
}

pub(super) fn new(args: &Args, out: &mut dyn Write) -> Result<()> {
    check_name(&args.name)?;
    let folder = args.parent.join(&args.name);
    if folder.exists() {
        return Err(Error::Usage(format!(
            "{} exists already; choose another name, or another folder with --in DIR",
            folder.display()
        )));
    }
    let taper = match &args.taper {
        Some(path) => Some(checked_out(path)?),
        None => None,
    };
    let dependency = |krate: &str| match &taper {
        Some(root) => {
            format!("{{ path = {:?} }}", root.join("crates").join(krate).display().to_string())
        }
        None => format!("{:?}", env!("CARGO_PKG_VERSION")),
    };
    for (name, text) in files(&args.name, dependency) {
        let path = folder.join(name);
        write_whole(&path, text.as_bytes())?;
    }
    say(
        out,
        format_args!(
            "{} is written. Next:\n  cd {0}\n  cargo run --release -- run {}",
            folder.display(),
            args.name
        ),
    )
}

/// The skeleton's files with their names filled in.
pub(crate) fn files(
    name: &str,
    dependency: impl Fn(&str) -> String,
) -> impl Iterator<Item = (&'static str, String)> {
    FILES.iter().map(move |(path, template)| {
        let text = template
            .replace("{{name}}", name)
            .replace("{{taper-core}}", &dependency("taper-core"))
            .replace("{{taper-lab}}", &dependency("taper-lab"))
            .replace("{{taper-sources}}", &dependency("taper-sources"));
        (*path, text)
    })
}

fn check_name(name: &str) -> Result<()> {
    let good = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if good {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "`{name}` should be a name in kebab-case (small letters, digits, `-`; a letter first), such as \
         `momentum-helps`"
    )))
}

fn checked_out(path: &Path) -> Result<PathBuf> {
    let root = fs::canonicalize(path).map_err(Error::io("find", path))?;
    if root.join("crates/taper-lab/Cargo.toml").is_file() {
        return Ok(root);
    }
    Err(Error::Usage(format!(
        "{} holds no crates/taper-lab; --taper takes a checkout of Taper",
        path.display()
    )))
}
