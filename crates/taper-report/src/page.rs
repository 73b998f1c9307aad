//! A report in the words and the order in which HTML, Markdown and LaTeX show it.
//!
//! The templates lay out and decide nothing: what is computed or put into words is done here once.

use std::fmt::Write as _;

use serde::Serialize;

use crate::number::{duration, number};
use crate::plot::{draw, forest};
use crate::{
    Arm, Badge, Claim, Criterion, Effect, Figure, Made, Panel, Range, Report, Result, Run, Tone,
};

/// What stands where there is nothing to say.
const NOTHING: &str = "–";

/// A report as the templates see it.
#[derive(Debug, Serialize)]
pub(crate) struct Page<'a> {
    title: &'a str,
    summary: &'a str,
    tally: Vec<(&'a Badge, usize)>,
    pub(crate) claims: Vec<Section<'a>>,
    made: &'a Made,
    duration: String,
}

/// One claim.
#[derive(Debug, Serialize)]
pub(crate) struct Section<'a> {
    claim: &'a Claim,
    held: String,
    headline: Option<Row<'a>>,
    criteria: Vec<Row<'a>>,
    /// Whether any criterion has a note, and whether any was tested besides its interval.
    criterion_notes: bool,
    tested: bool,
    pub(crate) figures: Vec<Drawing>,
    arms: Arms<'a>,
    runs: Vec<(&'a str, Vec<&'a Run>)>,
}

/// A criterion in words.
#[derive(Debug, Serialize)]
struct Row<'a> {
    criterion: &'a Criterion,
    effect: String,
    level: String,
    quantity: &'a str,
    claimed: String,
    p: String,
    p_holm: String,
    sign_flip: String,
    bca: String,
}

/// A figure with its panels drawn.
#[derive(Debug, Serialize)]
pub(crate) struct Drawing {
    id: String,
    title: String,
    caption: String,
    pub(crate) panels: Vec<Image>,
}

/// A drawn panel.
#[derive(Debug, Serialize)]
pub(crate) struct Image {
    pub(crate) file: String,
    title: String,
    pub(crate) svg: String,
}

/// The arms with what all have in common taken out.
#[derive(Debug, Serialize)]
struct Arms<'a> {
    shared: Vec<&'a (String, String)>,
    measures: Vec<&'a str>,
    rows: Vec<ArmRow<'a>>,
}

#[derive(Debug, Serialize)]
struct ArmRow<'a> {
    name: &'a str,
    title: &'a str,
    settings: Vec<&'a (String, String)>,
    cells: Vec<Option<Cell>>,
}

/// A measure over the seeds of an arm.
#[derive(Debug, Serialize)]
struct Cell {
    mean: String,
    sd: String,
    n: usize,
    censored: usize,
}

impl<'a> Page<'a> {
    pub(crate) fn new(report: &'a Report) -> Result<Self> {
        let claims = report.claims.iter().map(Section::new);
        Ok(Self {
            title: &report.title,
            summary: &report.summary,
            tally: tally(report.claims.iter().map(|claim| &claim.verdict)),
            claims: claims.collect::<Result<_>>()?,
            made: &report.made,
            duration: duration(report.made.seconds),
        })
    }
}

impl<'a> Section<'a> {
    fn new(claim: &'a Claim) -> Result<Self> {
        let forest = forest(&claim.criteria);
        let figures = forest.iter().chain(&claim.figures);
        Ok(Self {
            claim,
            held: held(&claim.criteria),
            headline: headline(claim).map(Row::new),
            criteria: claim.criteria.iter().map(Row::new).collect(),
            criterion_notes: claim.criteria.iter().any(|criterion| !criterion.notes.is_empty()),
            tested: claim.criteria.iter().any(is_tested),
            figures: figures
                .map(|figure| Drawing::new(&claim.id, figure))
                .collect::<Result<_>>()?,
            arms: Arms::new(&claim.arms),
            runs: by_arm(&claim.runs),
        })
    }
}

impl Drawing {
    fn new(claim: &str, figure: &Figure) -> Result<Self> {
        let image = |(panel, index): (&Panel, usize)| {
            // No id holds a dot, so that no two files have the same name.
            let file = match figure.panels.len() {
                1 => format!("{claim}.{}.svg", figure.id),
                _ => format!("{claim}.{}.{index}.svg", figure.id),
            };
            Ok(Image { file, title: panel.title.clone(), svg: draw(figure, panel)? })
        };
        Ok(Self {
            id: figure.id.clone(),
            title: figure.title.clone(),
            caption: figure.caption.clone(),
            panels: figure.panels.iter().zip(1..).map(image).collect::<Result<_>>()?,
        })
    }
}

/// How often each verdict came out, the best news first.
fn tally<'a>(badges: impl Iterator<Item = &'a Badge>) -> Vec<(&'a Badge, usize)> {
    let mut tally: Vec<(&Badge, usize)> = Vec::new();
    for badge in badges {
        match tally.iter_mut().find(|(known, _)| *known == badge) {
            Some((_, count)) => *count += 1,
            None => tally.push((badge, 1)),
        }
    }
    tally.sort_by_key(|(badge, _)| badge.tone);
    tally
}

/// The criterion that stands for the claim: the first that came out as the claim did.
fn headline(claim: &Claim) -> Option<&Criterion> {
    let decided = |criterion: &&Criterion| criterion.verdict == claim.verdict;
    claim.criteria.iter().find(decided).or(claim.criteria.first())
}

fn held(criteria: &[Criterion]) -> String {
    let held = criteria.iter().filter(|criterion| criterion.verdict.tone == Tone::Good);
    format!("{} of {}", held.count(), criteria.len())
}

fn is_tested(criterion: &Criterion) -> bool {
    let p = criterion.p.or(criterion.p_holm);
    p.is_some() || criterion.sign_flip.is_some() || criterion.bca.is_some()
}

fn by_arm(runs: &[Run]) -> Vec<(&str, Vec<&Run>)> {
    let mut arms: Vec<(&str, Vec<&Run>)> = Vec::new();
    for run in runs {
        match arms.iter_mut().find(|(arm, _)| *arm == run.arm) {
            Some((_, runs)) => runs.push(run),
            None => arms.push((&run.arm, vec![run])),
        }
    }
    arms
}

impl<'a> Row<'a> {
    fn new(criterion: &'a Criterion) -> Self {
        let effect = criterion.effect.as_ref();
        let interval = effect.and_then(|effect| effect.interval);
        Self {
            criterion,
            effect: effect.map_or(NOTHING.to_owned(), estimate),
            level: interval.map_or(String::new(), |interval| {
                format!("{}% interval", number(100.0 * interval.level))
            }),
            quantity: effect.map_or("", |effect| &effect.quantity),
            claimed: effect.map_or(NOTHING.to_owned(), |effect| range(effect.claimed)),
            p: or_nothing(criterion.p),
            p_holm: or_nothing(criterion.p_holm),
            sign_flip: criterion.sign_flip.map_or(NOTHING.to_owned(), |flip| {
                format!("{} (least {})", number(flip.p), number(flip.least))
            }),
            bca: criterion.bca.map_or(NOTHING.to_owned(), |interval| {
                format!("[{}, {}]", number(interval.low), number(interval.high))
            }),
        }
    }
}

fn estimate(effect: &Effect) -> String {
    let mut text = number(effect.estimate);
    if let Some(interval) = effect.interval {
        let _ = write!(text, " [{}, {}]", number(interval.low), number(interval.high));
    }
    text
}

fn range(range: Range) -> String {
    match (range.low, range.high) {
        (Some(low), Some(high)) => format!("{} to {}", number(low), number(high)),
        (Some(low), None) => format!("above {}", number(low)),
        (None, Some(high)) => format!("below {}", number(high)),
        (None, None) => NOTHING.to_owned(),
    }
}

fn or_nothing(value: Option<f64>) -> String {
    value.map_or(NOTHING.to_owned(), number)
}

impl<'a> Arms<'a> {
    fn new(arms: &'a [Arm]) -> Self {
        let first = arms.first().map_or(&[][..], |arm| &arm.settings);
        let is_shared = |setting: &(String, String)| {
            arms.len() > 1 && arms.iter().all(|arm| arm.settings.contains(setting))
        };
        let mut measures: Vec<&str> = Vec::new();
        for measure in arms.iter().flat_map(|arm| &arm.measures) {
            if !measures.contains(&measure.name.as_str()) {
                measures.push(&measure.name);
            }
        }
        let row = |arm: &'a Arm| ArmRow {
            name: &arm.name,
            title: &arm.title,
            settings: arm.settings.iter().filter(|setting| !is_shared(setting)).collect(),
            cells: measures.iter().map(|measure| cell(arm, measure)).collect(),
        };
        Self {
            shared: first.iter().filter(|setting| is_shared(setting)).collect(),
            rows: arms.iter().map(row).collect(),
            measures,
        }
    }
}

fn cell(arm: &Arm, name: &str) -> Option<Cell> {
    let measure = arm.measures.iter().find(|measure| measure.name == name)?;
    Some(Cell {
        mean: number(measure.mean),
        sd: number(measure.sd),
        n: measure.values.len(),
        censored: measure.values.iter().filter(|at| at.censored).count(),
    })
}
