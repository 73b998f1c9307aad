//! A figure by itself.

use crate::plot::{draw, standalone};
use crate::{Figure, Result};

/// The panels of a figure as SVG images that need nothing else, in the reader's light or dark colours.
///
/// ```
/// use taper_report::{Axis, Figure, Mark, Panel, Scale, svg};
///
/// let axis = |label: &str| Axis { label: label.into(), scale: Scale::Linear };
/// let line = Mark::Line { label: String::new(), points: vec![(0.0, 0.0), (1.0, 1.0)] };
/// let figure = Figure {
///     id: "identity".into(),
///     title: "The identity".into(),
///     caption: "A straight line.".into(),
///     panels: vec![Panel { title: String::new(), x: axis("x"), y: axis("y"), marks: vec![line] }],
/// };
/// assert!(svg(&figure)?[0].starts_with("<svg"));
/// # Ok::<(), taper_report::Error>(())
/// ```
///
/// # Errors
///
/// A panel that cannot be drawn.
pub fn svg(figure: &Figure) -> Result<Vec<String>> {
    figure.panels.iter().map(|panel| Ok(standalone(&draw(figure, panel)?))).collect()
}
