//! `run` and `report`: experiments by name, at one scale.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use clap::Args as ClapArgs;

use super::select::{MakeArgs, SelectArgs, StoreArgs, entries, make};
use super::table::table;
use super::{Build, say};
use crate::error::{Error, Result};
use crate::evaluate::{self, Evaluated, evaluate};
use crate::experiment::Registry;
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
    how: MakeArgs,
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
    made_and_reported(
        &store,
        selections,
        &args.place,
        &args.how,
        &args.names,
        build,
        out,
    )
}

pub(super) fn report(
    args: &ReportArgs,
    registry: &Registry,
    build: Build,
    out: &mut dyn Write,
) -> Result<()> {
    let selections = select(registry, &args.names, &args.which)?;
    let store = args.place.open()?;
    reported(
        &store,
        selections,
        &args.place,
        &args.names,
        None,
        build,
        out,
    )
}

fn select<'a>(
    registry: &'a Registry,
    names: &[String],
    which: &SelectArgs,
) -> Result<Vec<Selection<'a>>> {
    entries(registry, names)?
        .into_iter()
        .map(|entry| which.select(entry))
        .collect()
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
    let report = present::report(
        &claims,
        &present::Circumstances {
            build,
            machinery,
            folder: &folder,
        },
    )?;
    say(out, verdicts(&report))?;
    write_report(&folder, &report)?;
    if let Some(begun) = begun {
        say(
            out,
            format_args!("\n{:.0} s", begun.elapsed().as_secs_f64()),
        )?;
    }
    say(
        out,
        format_args!("report: {}", folder.join("index.html").display()),
    )
}

fn folder(store: &Store, names: &[String], selections: &[Selection<'_>]) -> std::path::PathBuf {
    let report = store.root().join("report");
    match selections.first() {
        Some(first) if !names.is_empty() => {
            report.join(format!("{}-{}", names.join("+"), first.scale.scale))
        }
        Some(first) if first.scale.scale != crate::spec::Scale::Quick => {
            report.join(first.scale.scale.to_string())
        }
        _ => report,
    }
}
fn verdicts(_: &u8) -> String {
    String::new()
}
fn write_report(_: &std::path::Path, _: &u8) -> Result<()> {
    Ok(())
}
