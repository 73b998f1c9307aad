//! Figures to SVG.

mod above;
mod axis;
mod canvas;
mod chart;
mod forest;
mod legend;
mod marks;
mod style;
mod text;

pub(crate) use chart::draw;
pub(crate) use forest::forest;
pub(crate) use style::{standalone, stylesheet};
