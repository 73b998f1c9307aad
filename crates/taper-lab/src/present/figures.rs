//! The figures that a spec asks for, out of the runs' metrics and measures.

use std::collections::BTreeMap;

use taper_report::{self as report, Axis, Mark, Panel};

use crate::arm::History;
use crate::evaluate::Evaluated;
use crate::spec::{Figure, Without};
use crate::stats;

/// Every figure of the spec that has something to show.
pub(super) fn figures(claim: &Evaluated<'_>) -> Vec<report::Figure> {
    let spec = &claim.selection.entry.spec;
    spec.figures.iter().enumerate().map(|(at, figure)| draw(claim, at, figure)).collect()
}

fn draw(claim: &Evaluated<'_>, at: usize, figure: &Figure) -> report::Figure {
    let (title, caption, panels) = match figure {
        Figure::Curve { title, caption, metric, log } => {
            (title, caption.clone(), vec![curve(claim, metric, *log)])
        }
        Figure::Percentiles { title, caption, metrics, without } => {
            let (panels, left_out) = percentiles(claim, metrics, without.as_ref());
            let caption = match left_out {
                None => caption.clone(),
                Some(count) => format!("{caption} Left out: {count} of {} runs.", claim.runs.len()),
            };
            (title, caption, panels)
        }
        Figure::Dots { title, caption, measure, log } => {
            (title, caption.clone(), vec![dots(claim, measure, *log)])
        }
    };
    report::Figure { id: format!("figure-{}", at + 1), title: title.clone(), caption, panels }
}

/// The finished runs of an arm, seed by seed.
fn histories<'a>(
    claim: &'a Evaluated<'_>,
    arm: &'a str,
) -> impl Iterator<Item = (u64, &'a History)> {
    claim
        .runs
        .iter()
        .filter(move |(run, _)| run.key.arm == arm)
        .filter_map(|(run, found)| Some((run.key.seed, &found.as_ref()?.history)))
}

fn curve(claim: &Evaluated<'_>, metric: &str, log: bool) -> Panel {
    let mut marks = Vec::new();
    for arm in &claim.selection.entry.spec.arms {
        let mut by_step: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (_, history) in histories(claim, &arm.name) {
            for (step, value) in history.metrics.get(metric).into_iter().flatten() {
                by_step.entry(*step).or_default().push(*value);
            }
        }
        let quantile = |values: &[f64], q| stats::quantile(values, q).unwrap_or(f64::NAN);
        let band = by_step
            .iter()
            .map(|(step, values)| (*step as f64, quantile(values, 0.25), quantile(values, 0.75)));
        marks.push(Mark::Band { label: arm.title.clone(), points: band.collect() });
        let line = by_step.iter().map(|(step, values)| (*step as f64, quantile(values, 0.5)));
        marks.push(Mark::Line { label: arm.title.clone(), points: line.collect() });
    }
    Panel { title: String::new(), x: linear("step"), y: axis(metric, log), marks }
}

/// A panel an arm, of the first seed that is not left out; and how many runs are, if that was asked.
fn percentiles(
    claim: &Evaluated<'_>,
    metrics: &[String; 3],
    without: Option<&Without>,
) -> (Vec<Panel>, Option<usize>) {
    let left_out = |history: &History| {
        without.is_some_and(|without| {
            let measured = history.measures.get(&without.measure);
            measured.is_none_or(|measured| measured.value < without.below)
        })
    };
    let mut panels = Vec::new();
    let mut count = 0;
    for arm in &claim.selection.entry.spec.arms {
        count += histories(claim, &arm.name).filter(|(_, history)| left_out(history)).count();
        let Some((seed, history)) =
            histories(claim, &arm.name).find(|(_, history)| !left_out(history))
        else {
            continue;
        };
        let [low, middle, high] = metrics;
        let series = |name: &String| history.metrics.get(name).map_or(&[][..], Vec::as_slice);
        let band = series(low)
            .iter()
            .zip(series(high))
            .map(|((step, low), (_, high))| (*step as f64, *low, *high));
        let line = series(middle).iter().map(|(step, value)| (*step as f64, *value));
        panels.push(Panel {
            title: format!("{}, seed {seed}", arm.title),
            x: linear("step"),
            y: linear("value"),
            marks: vec![
                Mark::Band { label: format!("{low} to {high}"), points: band.collect() },
                Mark::Line { label: middle.clone(), points: line.collect() },
            ],
        });
    }
    (panels, without.map(|_| count))
}

fn dots(claim: &Evaluated<'_>, measure: &str, log: bool) -> Panel {
    let arms = &claim.selection.entry.spec.arms;
    let (mut reached, mut censored) = (Vec::new(), Vec::new());
    for (place, arm) in arms.iter().enumerate() {
        let count = histories(claim, &arm.name).count();
        for (at, (_, history)) in histories(claim, &arm.name).enumerate() {
            let Some(measured) = history.measures.get(measure) else { continue };
            // Side by side in the order of the seeds, so that equal values stay apart.
            let offset = (at as f64 + 0.5) / count as f64 - 0.5;
            let points = if measured.censored { &mut censored } else { &mut reached };
            points.push((place as f64 + 0.6 * offset, measured.value));
        }
    }
    let mut marks = vec![Mark::Points { label: "a run".to_owned(), points: reached }];
    if !censored.is_empty() {
        let label = "ended at the budget".to_owned();
        marks.push(Mark::Points { label, points: censored });
    }
    let names = arms.iter().map(|arm| arm.title.clone()).collect();
    let x = Axis { label: String::new(), scale: report::Scale::Categories(names) };
    Panel { title: String::new(), x, y: axis(measure, log), marks }
}

fn linear(label: &str) -> Axis {
    Axis { label: label.to_owned(), scale: report::Scale::Linear }
}

fn axis(label: &str, log: bool) -> Axis {
    let scale = if log { report::Scale::Log } else { report::Scale::Linear };
    Axis { label: label.replace('_', " "), scale }
}
