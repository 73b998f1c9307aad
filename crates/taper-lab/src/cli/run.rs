//! `run` and `report`: experiments by name, at one scale.

use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime};

use clap::Args as ClapArgs;
use sha2::{Digest, Sha256};
use taper_report::Report;

use super::select::{MakeArgs, SelectArgs, StoreArgs, entries, make};
use super::table::table;
use super::{Build, say};
use crate::error::Result;
use crate::evaluate::{self, evaluate};
use crate::experiment::Registry;
use crate::key::hex;
use crate::plan::Selection;
use crate::present;
use crate::store::{Store, write_whole};

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The experiments.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    which: SelectArgs,
    #[command(flatten)]
    place: StoreArgs,
    #[command(flatten)]
    pub(super) how: MakeArgs,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ReportArgs {
    /// The experiments; all when none is named.
    names: Vec<String>,
    #[command(flatten)]
    which: SelectArgs,
    #[command(flatten)]
    place: StoreArgs,
}

pub(super) fn run(
    args: &Args,
    registry: &Registry,
    build: Build,
    out: &mut dyn Write,
) -> Result<()> {
    let selections = select(registry, &args.names, &args.which)?;
    let store = args.place.open()?;
    made_and_reported(&store, selections, &args.place, &args.how, &args.names, build, out)
}

pub(super) fn report(
    args: &ReportArgs,
    registry: &Registry,
    build: Build,
    out: &mut dyn Write,
) -> Result<()> {
    let selections = select(registry, &args.names, &args.which)?;
    let store = args.place.open()?;
    reported(&store, selections, &args.place, &args.names, None, build, out)
}

fn select<'a>(
    registry: &'a Registry,
    names: &[String],
    which: &SelectArgs,
) -> Result<Vec<Selection<'a>>> {
    entries(registry, names)?.into_iter().map(|entry| which.select(entry)).collect()
}

/// Makes what is missing, then reports.
pub(super) fn made_and_reported(
    store: &Store,
    selections: Vec<Selection<'_>>,
    place: &StoreArgs,
    how: &MakeArgs,
    names: &[String],
    build: Build,
    out: &mut dyn Write,
) -> Result<()> {
    let begun = Instant::now();
    let machinery = place.machinery(&build);
    let mut runs = Vec::new();
    for selection in &selections {
        runs.extend(evaluate::runs(selection, machinery)?);
    }
    make(store, &runs, place, how)?;
    reported(store, selections, place, names, Some(begun), build, out)
}

/// Evaluates, prints the verdict table, and writes the report: into `report/` of the store for all
/// experiments, into a folder of its own for some.
fn reported(
    store: &Store,
    selections: Vec<Selection<'_>>,
    place: &StoreArgs,
    names: &[String],
    begun: Option<Instant>,
    build: Build,
    out: &mut dyn Write,
) -> Result<()> {
    let machinery = place.machinery(&build);
    let folder = folder(store, names, &selections);
    let claims = selections
        .into_iter()
        .map(|selection| evaluate(store, selection, machinery, place.accept_older_code))
        .collect::<Result<Vec<_>>>()?;
    let about = present::Circumstances {
        build,
        machinery,
        command: command_line(),
        now: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        folder: &folder,
    };
    let report = present::report(&claims, &about)?;
    say(out, verdicts(&report))?;
    write_report(&folder, &report)?;
    if let Some(begun) = begun {
        say(out, format_args!("\n{:.0} s", begun.elapsed().as_secs_f64()))?;
    }
    say(out, format_args!("report: {}", folder.join("index.html").display()))
}

fn folder(store: &Store, names: &[String], selections: &[Selection<'_>]) -> std::path::PathBuf {
    let report = store.root().join("report");
    match selections.first() {
        Some(first) if !names.is_empty() => {
            report.join(format!("{}-{}", joined(names), first.scale.scale))
        }
        Some(first) if first.scale.scale != crate::spec::Scale::Quick => {
            report.join(first.scale.scale.to_string())
        }
        _ => report,
    }
}

/// The names in one that a file system takes, which is up to 255 bytes: of many the first, the number of the others and
/// the beginning of a digest of all.
fn joined(names: &[String]) -> String {
    const LONGEST: usize = 200;
    let joined = names.join("+");
    match names.first() {
        Some(first) if joined.len() > LONGEST => {
            let digest = hex(&Sha256::digest(joined.as_bytes()));
            format!("{first}+{}-others-{}", names.len() - 1, &digest[..8])
        }
        _ => joined,
    }
}

/// A row a claim, and below it one for each of its criteria.
fn verdicts(report: &Report) -> comfy_table::Table {
    let mut rows = Vec::new();
    for claim in &report.claims {
        let notes = claim.notes.join(" ");
        rows.push(
            [claim.id.as_str(), &claim.verdict.label, &notes, "", ""].map(str::to_owned).to_vec(),
        );
        for criterion in &claim.criteria {
            rows.push(vec![
                format!("· {}", criterion.name),
                criterion.verdict.label.clone(),
                criterion.ours.clone(),
                criterion.paper.clone().unwrap_or_default(),
                criterion.seeds.to_string(),
            ]);
        }
    }
    table(&["claim", "verdict", "ours [interval]", "paper", "seeds"], rows)
}

fn write_report(folder: &Path, report: &Report) -> Result<()> {
    let markdown = taper_report::markdown(report)?;
    for figure in &markdown.figures {
        write_whole(&folder.join(&figure.name), figure.svg.as_bytes())?;
    }
    write_whole(&folder.join("report.md"), markdown.text.as_bytes())?;
    write_whole(&folder.join("measures.csv"), taper_report::csv(report)?.as_bytes())?;
    write_whole(&folder.join("tables.tex"), taper_report::latex(report)?.as_bytes())?;
    write_whole(&folder.join("index.html"), taper_report::html(report)?.as_bytes())
}

/// The command as it was typed, without the folder of the program.
fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or(program.as_ref());
    std::iter::once(name.to_string_lossy().into_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
