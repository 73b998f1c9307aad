//! From evaluated claims to the report's plain structs. Nothing is decided here.

mod figures;

use std::path::Path;

use taper_report as report;

use crate::cli::Build;
use crate::criterion::{Criterion, Evaluation};
use crate::error::Result;
use crate::evaluate::{Evaluated, Standing, adjusted};
use crate::plan::Machinery;
use crate::spec::{ArmSpec, Goal};
use crate::stats;
use crate::verdict::{Finding, Rule, Verdict};

/// What the report says about its own making.
#[derive(Debug)]
pub(crate) struct Circumstances<'a> {
    /// The program.
    pub(crate) build: Build,
    /// What every run had in common.
    pub(crate) machinery: Machinery<'a>,
    /// The command that makes the report again.
    pub(crate) command: String,
    /// Now, as text.
    pub(crate) now: String,
    /// The folder that the report goes to: links to runs are relative to it.
    pub(crate) folder: &'a Path,
}

/// The report of these claims.
pub(crate) fn report(
    claims: &[Evaluated<'_>],
    about: &Circumstances<'_>,
) -> Result<report::Report> {
    let mut holm = adjusted(claims)?.into_iter();
    let shown: Vec<report::Claim> =
        claims.iter().map(|claim| present(claim, about, &mut holm)).collect();
    Ok(report::Report {
        title: format!("{}: which claims held", about.build.name),
        summary: summary(claims),
        claims: shown,
        made: made(claims, about),
    })
}

fn summary(claims: &[Evaluated<'_>]) -> String {
    let judged = |wanted: Verdict| {
        let of = |claim: &&Evaluated<'_>| matches!(claim.standing, Standing::Judged(verdict, _) if verdict == wanted);
        claims.iter().filter(of).count()
    };
    let counts =
        [Verdict::Reproduced, Verdict::Weaker, Verdict::Contradicted, Verdict::Inconclusive]
            .map(|verdict| (judged(verdict), verdict.to_string()));
    let mut parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let untested = claims.len() - counts.iter().map(|(count, _)| count).sum::<usize>();
    if untested > 0 {
        parts.push(format!("{untested} not tested"));
    }
    let changed = claims.iter().any(|claim| !claim.selection.overrides.is_empty());
    let warning = if changed {
        " Settings were overridden: this is not the published experiment."
    } else {
        ""
    };
    format!(
        "Of {} {}: {}.{warning} A verdict is conditional on the data set and covers the spread over seeds.",
        claims.len(),
        if claims.len() == 1 { "claim" } else { "claims" },
        parts.join(", ")
    )
}

fn present(
    claim: &Evaluated<'_>,
    about: &Circumstances<'_>,
    holm: &mut impl Iterator<Item = f64>,
) -> report::Claim {
    let spec = &claim.selection.entry.spec;
    let scale = claim.selection.scale.scale;
    report::Claim {
        id: spec.name.clone(),
        question: spec.question.clone(),
        claim: spec.claim.clone(),
        source: spec.source.clone(),
        url: spec.url.clone(),
        scale: scale.to_string(),
        verdict: match &claim.standing {
            Standing::Judged(verdict, _) => badge(*verdict),
            Standing::NotTestable(_) => badge(Verdict::NotTestable),
            Standing::Incomplete(_) => {
                report::Badge { label: "incomplete".to_owned(), tone: report::Tone::Untested }
            }
        },
        notes: notes(claim),
        criteria: match &claim.standing {
            Standing::Judged(_, evaluations) => criteria(claim, evaluations, holm),
            _ => Vec::new(),
        },
        arms: spec.arms.iter().map(|arm| present_arm(claim, arm)).collect(),
        tuning: tuning(claim),
        figures: figures::figures(claim),
        runs: run_links(claim, about.folder),
    }
}

fn badge(verdict: Verdict) -> report::Badge {
    let tone = match verdict {
        Verdict::Reproduced => report::Tone::Good,
        Verdict::Weaker => report::Tone::Partial,
        Verdict::Contradicted => report::Tone::Bad,
        Verdict::Inconclusive => report::Tone::Open,
        Verdict::NotTestable => report::Tone::Untested,
    };
    report::Badge { label: verdict.to_string(), tone }
}

fn notes(claim: &Evaluated<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    match &claim.standing {
        Standing::NotTestable(reason) => {
            notes.push(format!("Not testable at this scale: {reason}."))
        }
        Standing::Incomplete(missing) => notes.push(format!(
            "{missing} of {} runs are missing or damaged; `run {}`, with the same options, makes them.",
            claim.runs.len(),
            claim.selection.entry.spec.name
        )),
        Standing::Judged(_, evaluations) => {
            if evaluations.iter().flat_map(|part| &part.findings).any(|finding| finding.few_seeds) {
                notes.push(format!("Few seeds: {}.", claim.selection.seeds.len()));
            }
        }
    }
    if !claim.selection.overrides.is_empty() {
        notes.push(format!("Settings were overridden: {}.", claim.selection.overrides.join(", ")));
    }
    let older =
        claim.runs.iter().filter(|(_, found)| found.as_ref().is_some_and(|run| run.older)).count();
    if older > 0 {
        notes.push(format!("{older} of {} runs were made by older sources.", claim.runs.len()));
    }
    notes
}

fn criteria(
    claim: &Evaluated<'_>,
    evaluations: &[Evaluation],
    holm: &mut impl Iterator<Item = f64>,
) -> Vec<report::Criterion> {
    let spec = &claim.selection.entry.spec;
    let mut rows = Vec::new();
    for (criterion, evaluation) in spec.criteria_at(claim.selection.scale.scale).zip(evaluations) {
        for finding in &evaluation.findings {
            rows.push(report::Criterion {
                name: criterion.name().to_owned(),
                kind: criterion.kind().to_owned(),
                verdict: badge(finding.verdict),
                effect: Some(effect(finding)),
                paper: criterion.paper().map(str::to_owned),
                ours: ours(criterion, finding),
                seeds: finding.n,
                p: finding.p,
                // `adjusted` went over the same p-values in the same order.
                p_holm: finding.p.and_then(|_| holm.next()),
                sign_flip: finding
                    .sign_flip
                    .map(|flip| report::SignFlip { p: flip.p, least: flip.least }),
                bca: finding.bca.map(interval),
                seeds_needed: finding.seeds_needed,
                notes: finding.notes.clone(),
            });
        }
    }
    rows
}

fn effect(finding: &Finding) -> report::Effect {
    let (low, high, no_effect) = match finding.rule {
        Rule::Superiority { margin } => (Some(margin), None, Some(0.0)),
        Rule::NonInferiority { margin } => (Some(-margin), None, Some(0.0)),
        Rule::Equivalence { margin } => (Some(-margin), Some(margin), Some(0.0)),
        Rule::AtLeast { bound } => (Some(bound), None, None),
        Rule::AtMost { bound } => (None, Some(bound), None),
        Rule::Within { target, within } => (Some(target - within), Some(target + within), None),
        Rule::Identity { within } => (Some(-within), Some(within), None),
    };
    report::Effect {
        quantity: finding.quantity.clone(),
        estimate: finding.effect,
        interval: finding.interval.map(interval),
        claimed: report::Range { low, high },
        no_effect,
    }
}

fn interval(interval: stats::Interval) -> report::Interval {
    report::Interval { low: interval.low, high: interval.high, level: interval.level }
}

/// Our number beside the paper's, in the units of the measure: a log-ratio as the ratio it is.
fn ours(criterion: &Criterion, finding: &Finding) -> String {
    let ratio = matches!(criterion, Criterion::LogRatio(_));
    let show = |value: f64| report::number(if ratio { value.exp() } else { value });
    let unit = if ratio { " times" } else { "" };
    match (&finding.rule, finding.interval) {
        (Rule::Identity { .. }, _) => format!("largest error {}", show(finding.effect)),
        (_, Some(interval)) => format!(
            "{}{unit} [{}, {}]",
            show(finding.effect),
            show(interval.low),
            show(interval.high)
        ),
        (_, None) => format!("{}{unit}", show(finding.effect)),
    }
}

fn present_arm(claim: &Evaluated<'_>, arm: &ArmSpec) -> report::Arm {
    let runs: Vec<_> = claim.runs.iter().filter(|(run, _)| run.key.arm == arm.name).collect();
    let settings = runs.first().map_or_else(Vec::new, |(run, _)| {
        run.key.settings.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
    });
    let found: Vec<_> =
        runs.iter().filter_map(|(run, found)| Some((run.key.seed, found.as_ref()?))).collect();
    let names: std::collections::BTreeSet<&String> =
        found.iter().flat_map(|(_, run)| run.history.measures.keys()).collect();
    let measures = names.into_iter().map(|name| {
        let values: Vec<report::SeedValue> = found
            .iter()
            .filter_map(|(seed, run)| {
                let measured = run.history.measures.get(name)?;
                Some(report::SeedValue {
                    seed: *seed,
                    value: measured.value,
                    censored: measured.censored,
                })
            })
            .collect();
        let numbers: Vec<f64> = values.iter().map(|value| value.value).collect();
        report::Measure {
            name: name.clone(),
            mean: stats::mean(&numbers),
            sd: stats::sd(&numbers),
            values,
        }
    });
    report::Arm {
        name: arm.name.clone(),
        title: arm.title.clone(),
        settings,
        measures: measures.collect(),
    }
}

fn tuning(claim: &Evaluated<'_>) -> Option<report::Tuning> {
    let spec = &claim.selection.entry.spec;
    let tune = spec.tune.as_ref()?;
    let winners = tune.winners.get(&claim.selection.scale.scale)?;
    let better = match tune.goal {
        Goal::Higher => "higher",
        Goal::Lower => "lower",
    };
    Some(report::Tuning {
        metric: format!("{} on the {} split, {better} is better", tune.measure, tune.split),
        grid: tune
            .grid
            .iter()
            .map(|(key, values)| (key.clone(), values.iter().map(ToString::to_string).collect()))
            .collect(),
        trials: tune.trials().len() as u64,
        seeds: tune.seeds.clone(),
        winners: winners.iter().map(|(arm, point)| (arm.clone(), in_line(point))).collect(),
    })
}

/// A table's entries on one line.
pub(crate) fn in_line(table: &toml::Table) -> String {
    let entries: Vec<String> =
        table.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    entries.join(", ")
}

fn run_links(claim: &Evaluated<'_>, folder: &Path) -> Vec<report::Run> {
    let found = claim.runs.iter().filter_map(|(run, found)| Some((run, found.as_ref()?)));
    found
        .map(|(run, found)| report::Run {
            arm: run.key.arm.clone(),
            seed: run.key.seed,
            href: relative(folder, found.dir.path()),
            digest: found.dir.metrics_digest().unwrap_or_default(),
        })
        .collect()
}

/// `to` as seen from the folder `from`, with `/` between the parts. Both are below the store.
fn relative(from: &Path, to: &Path) -> String {
    let mut from = from.components().peekable();
    let mut to = to.components().peekable();
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let up = from.map(|_| "..".to_owned());
    let down = to.map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

fn made(claims: &[Evaluated<'_>], about: &Circumstances<'_>) -> report::Made {
    let runs = claims.iter().flat_map(|claim| &claim.runs);
    let seconds = runs
        .clone()
        .filter_map(|(_, found)| found.as_ref())
        .flat_map(|found| found.dir.times())
        .map(|stretch| stretch.seconds)
        .sum();
    let data: std::collections::BTreeSet<_> = runs.flat_map(|(run, _)| &run.data).collect();
    report::Made {
        version: format!("{} {}", about.build.name, about.build.version),
        code: about.machinery.sources.to_owned(),
        command: about.command.clone(),
        generated_at: about.now.clone(),
        seconds,
        machine: vec![
            ("processor path".to_owned(), about.machinery.device.key()),
            ("system".to_owned(), format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
            (
                "processors".to_owned(),
                std::thread::available_parallelism()
                    .map_or_else(|_| "unknown".to_owned(), |n| n.to_string()),
            ),
        ],
        data: data
            .into_iter()
            .map(|source| report::DataSet {
                name: source.name.clone(),
                digest: source.digest.clone(),
                licence: source.licence.clone(),
                citation: source.citation.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_up_and_down() {
        let from = Path::new("store/report/one");
        assert_eq!(relative(from, Path::new("store/runs/a/b")), "../../runs/a/b");
        assert_eq!(relative(Path::new("s/report"), Path::new("s/runs/a")), "../runs/a");
    }
}
