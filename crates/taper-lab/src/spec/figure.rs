//! The `[[figures]]` of a spec.

use serde::Deserialize;

/// A figure of the report.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Figure {
    /// A metric over steps: each arm's median over seeds, with the middle half as a band.
    Curve {
        /// The figure's title.
        title: String,
        /// What it shows.
        caption: String,
        /// The metric.
        metric: String,
        /// Whether the vertical axis is logarithmic.
        #[serde(default)]
        log: bool,
    },
    /// Three metrics over steps as a line in a band, a panel an arm, of the first seed.
    Percentiles {
        /// The figure's title.
        title: String,
        /// What it shows.
        caption: String,
        /// The lower, middle and upper metric.
        metrics: [String; 3],
        /// Leaves out runs whose measure ends below a bound, and says how many.
        without: Option<Without>,
    },
    /// A measure of every run: a dot a seed, an arm a column.
    Dots {
        /// The figure's title.
        title: String,
        /// What it shows.
        caption: String,
        /// The measure.
        measure: String,
        /// Whether the vertical axis is logarithmic.
        #[serde(default)]
        log: bool,
    },
}

/// Runs that a figure leaves out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Without {
    /// The measure to look at.
    pub(crate) measure: String,
    /// Runs below this are left out.
    pub(crate) below: f64,
}
