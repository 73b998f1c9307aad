//! `tune`: runs the grid of a spec's `[tune]` part for every arm and prints the winners.

use std::io::Write;

use clap::Args as ClapArgs;

use super::select::{MakeArgs, StoreArgs, make};
use super::table::table;
use super::{Build, say};
use crate::error::{Error, Result};
use crate::experiment::{Entry, Registry};
use crate::plan::{Machinery, Run};
use crate::present::in_line;
use crate::runner;
use crate::spec::{ArmSpec, Goal, Role, Scale, ScaleSpec, Tune, from_toml_table};
use crate::stats;
use crate::store::Store;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The experiment.
    name: String,
    /// The size of the experiment.
    #[arg(long, value_enum, default_value_t = Scale::Quick)]
    scale: Scale,
    #[command(flatten)]
    place: StoreArgs,
    #[command(flatten)]
    pub(super) how: MakeArgs,
}

/// One point of the grid for one arm, and its runs, one a tuning seed.
struct Trial<'a> {
    arm: &'a ArmSpec,
    point: toml::Table,
    runs: std::ops::Range<usize>,
}

pub(super) fn tune(
    args: &Args,
    registry: &Registry,
    build: Build,
    out: &mut dyn Write,
) -> Result<()> {
    let entry = registry.find(&args.name)?;
    let tune = entry.spec.tune.as_ref().ok_or_else(|| {
        Error::Usage(format!("{} has no [tune] part in its spec", entry.spec.name))
    })?;
    let scale = entry.spec.scale(args.scale).ok_or_else(|| {
        Error::Usage(format!("{} has no scale `{}`", entry.spec.name, args.scale))
    })?;
    let store = args.place.open()?;
    let (trials, runs) = plan(entry, scale, tune, args.place.machinery(&build))?;
    make(&store, &runs, &args.place, &args.how)?;

    let mut rows = Vec::new();
    let mut winners = Vec::new();
    for arm in &entry.spec.arms {
        let mut best: Option<(f64, &toml::Table)> = None;
        for trial in trials.iter().filter(|trial| trial.arm.name == arm.name) {
            let score =
                score(&store, &runs[trial.runs.clone()], tune, args.place.accept_older_code)?;
            rows.push(vec![arm.name.clone(), in_line(&trial.point), format!("{score:.6}")]);
            if best.is_none_or(|(least, _)| better(tune.goal, score, least)) {
                best = Some((score, &trial.point));
            }
        }
        if let Some((_, point)) = best {
            winners.push(format!("{} = {{ {} }}", arm.name, in_line(point)));
        }
    }
    let measure = format!("mean {} on the {} split", tune.measure, tune.split);
    say(out, table(&["arm", "trial", &measure], rows))?;
    say(
        out,
        format_args!("\nFor the spec:\n\n[tune.winners.{}]\n{}", args.scale, winners.join("\n")),
    )
}

/// The same trials for every arm; an arm that has no such setting cannot be tuned by it, which the
/// settings' type says.
fn plan<'a>(
    entry: &'a Entry,
    scale: &ScaleSpec,
    tune: &Tune,
    machinery: Machinery<'_>,
) -> Result<(Vec<Trial<'a>>, Vec<Run<'a>>)> {
    let (mut trials, mut runs) = (Vec::new(), Vec::new());
    for arm in &entry.spec.arms {
        for point in tune.trials() {
            let mut settings = entry.spec.untuned(scale, arm);
            settings.merge(&from_toml_table(&point, &entry.spec.origin));
            let settings = entry.canonical(&settings)?;
            let data = entry.data(&settings)?;
            let first = runs.len();
            runs.extend(tune.seeds.iter().map(|seed| {
                let role = (*seed, Role::Tune);
                Run::new(entry, &arm.name, role, settings.clone(), data.clone(), machinery)
            }));
            trials.push(Trial { arm, point, runs: first..runs.len() });
        }
    }
    Ok((trials, runs))
}

/// The mean of the measure over the tuning seeds; NaN where one of them is.
fn score(store: &Store, runs: &[Run<'_>], tune: &Tune, accept_older_code: bool) -> Result<f64> {
    let mut values = Vec::new();
    for run in runs {
        let found = runner::find(store, run, accept_older_code)?.ok_or_else(|| {
            Error::Internal("a tuning run that was made is not in the store".to_owned())
        })?;
        let measured = found.history.measures.get(&tune.measure).ok_or_else(|| {
            let known: Vec<&str> = found.history.measures.keys().map(String::as_str).collect();
            Error::Usage(format!(
                "{}: [tune] asks for the measure `{}`, but a run has: {}",
                run.key.experiment,
                tune.measure,
                known.join(", ")
            ))
        })?;
        values.push(measured.value);
    }
    Ok(stats::mean(&values))
}

/// Whether `score` beats `least`; NaN never wins.
fn better(goal: Goal, score: f64, least: f64) -> bool {
    match goal {
        Goal::Higher => score > least || least.is_nan(),
        Goal::Lower => score < least || least.is_nan(),
    }
}
