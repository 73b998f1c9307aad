//! What a report is made of: plain data that a harness fills in.

use serde::Serialize;

use crate::Figure;

/// Everything that a report shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The heading of the page.
    pub title: String,
    /// A few sentences for someone who reads nothing else.
    pub summary: String,
    /// The claims, in the order in which they are shown.
    pub claims: Vec<Claim>,
    /// How the report was made.
    pub made: Made,
}

/// One claim with all that was found about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// A name for links and file names: lower-case letters, digits and hyphens, unique in the report.
    pub id: String,
    /// The question that the experiment asks.
    pub question: String,
    /// The claim in one sentence.
    pub claim: String,
    /// Who made it, such as `Ioffe & Szegedy 2015`.
    pub source: String,
    /// Where to read it; `http://` or `https://`.
    pub url: Option<String>,
    /// The scale at which it was put to the test, such as `quick`.
    pub scale: String,
    /// The verdict on the whole claim.
    pub verdict: Badge,
    /// What a reader must know to weigh the verdict, as sentences: few seeds, censored runs, runs of
    /// older code, why it is not testable here.
    pub notes: Vec<String>,
    /// What was asked of the data. The verdict table shows the first that came out as the claim did.
    pub criteria: Vec<Criterion>,
    /// What was compared.
    pub arms: Vec<Arm>,
    /// How the arms' settings were chosen, if they were tuned.
    pub tuning: Option<Tuning>,
    /// The figures. The forest plot of the criteria is drawn without being asked for.
    pub figures: Vec<Figure>,
    /// The runs behind the numbers.
    pub runs: Vec<Run>,
}

/// A verdict as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Badge {
    /// The verdict in words, such as `reproduced`.
    pub label: String,
    /// What the words mean for the claim; it decides colour and sign.
    pub tone: Tone,
}

/// What a verdict means for the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tone {
    /// It held.
    Good,
    /// It held, but by less than claimed.
    Partial,
    /// It did not hold.
    Bad,
    /// The data do not say.
    Open,
    /// It was not put to the test.
    Untested,
}

/// One criterion, or one part of a compound one, with what came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Criterion {
    /// Its name.
    pub name: String,
    /// Its kind, such as `log-ratio`.
    pub kind: String,
    /// Its verdict.
    pub verdict: Badge,
    /// The measured effect; none where nothing was measured.
    pub effect: Option<Effect>,
    /// The source's number, as the source writes it.
    pub paper: Option<String>,
    /// The number of ours that stands beside it.
    pub ours: String,
    /// How many seeds it rests on.
    pub seeds: u64,
    /// The unadjusted p-value.
    pub p: Option<f64>,
    /// The p-value after Holm's adjustment over the report.
    pub p_holm: Option<f64>,
    /// The sign-flip test.
    pub sign_flip: Option<SignFlip>,
    /// The bootstrap interval.
    pub bca: Option<Interval>,
    /// How many seeds would settle an inconclusive verdict.
    pub seeds_needed: Option<u64>,
    /// What a reader should know about this criterion, as sentences.
    pub notes: Vec<String>,
}

/// An effect and what the claim says about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// What was measured, such as `steps: ln(plain / bn)`. Effects of the same quantity and the same
    /// claimed range share an axis in the forest plot.
    pub quantity: String,
    /// The estimate.
    pub estimate: f64,
    /// The interval that decided; none where there was too little data, or where every single value
    /// was asked instead.
    pub interval: Option<Interval>,
    /// The range in which the whole interval must lie for the criterion to hold.
    pub claimed: Range,
    /// The value that means no effect, where there is one.
    pub no_effect: Option<f64>,
}

/// An interval of confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The level, such as 0.95.
    pub level: f64,
}

/// A range that may be open at either end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The lower bound, if there is one.
    pub low: Option<f64>,
    /// The upper bound, if there is one.
    pub high: Option<f64>,
}

/// The sign-flip test's p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SignFlip {
    /// The p-value.
    pub p: f64,
    /// The least that so few seeds can reach.
    pub least: f64,
}

/// One of the things that were compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arm {
    /// Its name in commands and files.
    pub name: String,
    /// Its name for readers.
    pub title: String,
    /// Its settings, as key and value. What all arms share is shown once.
    pub settings: Vec<(String, String)>,
    /// What was measured on it.
    pub measures: Vec<Measure>,
}

/// A measure of an arm, over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measure {
    /// Its name, such as `steps-to-target`.
    pub name: String,
    /// The mean over seeds.
    pub mean: f64,
    /// The standard deviation over seeds; NaN below two.
    pub sd: f64,
    /// The single values.
    pub values: Vec<SeedValue>,
}

/// What one run measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SeedValue {
    /// The run's seed.
    pub seed: u64,
    /// The value.
    pub value: f64,
    /// Whether it is a bound, because the run ended before the value was reached.
    pub censored: bool,
}

/// How settings were chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tuning {
    /// What was compared and on what, such as `validation accuracy, higher is better`.
    pub metric: String,
    /// The grid: each setting with its candidates.
    pub grid: Vec<(String, Vec<String>)>,
    /// How many trials each arm had.
    pub trials: u64,
    /// The seeds that were tuned on.
    pub seeds: Vec<u64>,
    /// Each arm's name with the settings that won.
    pub winners: Vec<(String, String)>,
}

/// A link to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// The arm's name.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// Where the run is, relative to the report, with `/` between the parts.
    pub href: String,
    /// The run's digest; its beginning is shown.
    pub digest: String,
}

/// How a report was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Made {
    /// The program and its version.
    pub version: String,
    /// The digest of the code, or its commit.
    pub code: String,
    /// The command that makes the report again.
    pub command: String,
    /// When, as text: the report reads no clock.
    pub generated_at: String,
    /// The computing time of all runs, in seconds.
    pub seconds: f64,
    /// The machine, as name and value.
    pub machine: Vec<(String, String)>,
    /// The data that runs drew on.
    pub data: Vec<DataSet>,
}

/// A data set as the report cites it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataSet {
    /// Its name.
    pub name: String,
    /// The digest of its content.
    pub digest: String,
    /// Its licence.
    pub licence: String,
    /// How to cite it.
    pub citation: String,
}
