//! Figures as data: panels, axes and a closed set of marks.

use serde::Serialize;

/// A figure of one or more panels that share a caption.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// A name for links and file names: lower-case letters, digits and hyphens, unique in the claim
    /// and not `criteria`, which is the forest plot.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// What is seen and how to read it, as sentences. Who cannot see the figure gets this instead.
    pub caption: String,
    /// The panels. Marks with the same label look the same in all of them.
    pub panels: Vec<Panel>,
}

/// One pair of axes with what is drawn between them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Panel {
    /// Its heading; empty where the figure has one panel.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn, the first at the bottom.
    pub marks: Vec<Mark>,
}

/// An axis. Its range is that of the marks, in all panels of the figure that have the same axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// How values become positions.
    pub scale: Scale,
}

/// How values become positions on an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// In proportion.
    Linear,
    /// In proportion to the logarithm; values that are not above 0 are left out.
    Log,
    /// Names at equal distances: the value 0 is the place of the first, 1 of the second, and so on;
    /// on a vertical axis the first is on top.
    Categories(Vec<String>),
}

/// Something drawn in a panel. A value that is not finite is a gap. Marks with the same label belong
/// together: they share colour, dashes and one entry of the legend. An empty label has no entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// A line through points.
    Line {
        /// The series.
        label: String,
        /// x and y.
        points: Vec<(f64, f64)>,
    },
    /// The area between two lines.
    Band {
        /// The series.
        label: String,
        /// x, the lower and the upper y.
        points: Vec<(f64, f64, f64)>,
    },
    /// Single points.
    Points {
        /// The series.
        label: String,
        /// x and y.
        points: Vec<(f64, f64)>,
    },
    /// A horizontal interval with its middle, as in a forest plot.
    Interval {
        /// The series.
        label: String,
        /// The place on the vertical axis.
        y: f64,
        /// The lower end.
        low: f64,
        /// The estimate.
        mid: f64,
        /// The upper end.
        high: f64,
    },
    /// A reference line across the panel.
    Rule {
        /// What stands beside it.
        label: String,
        /// Where it is.
        at: Place,
    },
    /// A shaded vertical stripe, such as the range that a claim names.
    Stripe {
        /// What stands in it.
        label: String,
        /// Its left edge; none reaches to the edge of the panel.
        low: Option<f64>,
        /// Its right edge; none reaches to the edge of the panel.
        high: Option<f64>,
    },
}

/// Where a [`Mark::Rule`] is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A vertical line at this x.
    X(f64),
    /// A horizontal line at this y.
    Y(f64),
}
