//! The marks of a panel.

use plotters::coord::types::RangedCoordf64;
use plotters::element::{Circle, EmptyElement, PathElement, Polygon, Rectangle};
use plotters::prelude::{Cartesian2d, ChartContext, SVGBackend};
use plotters::style::{Color, ShapeStyle};

use super::axis::Placed;
use super::canvas::{Drawn, UNIT};
use super::style::Ink;
use crate::{Mark, Place};

/// A pair of axes whose positions are in [0, 1].
pub(super) type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A position in [0, 1] on both axes.
type Spot = (f64, f64);

/// Half the size of a marker, in pixels.
const MARKER: i32 = 4;

impl Mark {
    /// The series that it belongs to; none for what is no data.
    pub(super) fn series(&self) -> Option<&str> {
        match self {
            Self::Line { label, .. }
            | Self::Band { label, .. }
            | Self::Points { label, .. }
            | Self::Interval { label, .. } => Some(label),
            Self::Rule { .. } | Self::Stripe { .. } => None,
        }
    }

    /// Everything that the horizontal axis must show.
    pub(super) fn xs(&self) -> Vec<f64> {
        match self {
            Self::Line { points, .. } | Self::Points { points, .. } => {
                points.iter().map(|point| point.0).collect()
            }
            Self::Band { points, .. } => points.iter().map(|point| point.0).collect(),
            Self::Interval { low, mid, high, .. } => vec![*low, *mid, *high],
            Self::Rule { at: Place::X(x), .. } => vec![*x],
            Self::Rule { at: Place::Y(_), .. } => vec![],
            Self::Stripe { low, high, .. } => low.iter().chain(high).copied().collect(),
        }
    }

    /// Everything that the vertical axis must show.
    pub(super) fn ys(&self) -> Vec<f64> {
        match self {
            Self::Line { points, .. } | Self::Points { points, .. } => {
                points.iter().map(|point| point.1).collect()
            }
            Self::Band { points, .. } => {
                points.iter().flat_map(|point| [point.1, point.2]).collect()
            }
            Self::Interval { y, .. } => vec![*y],
            Self::Rule { at: Place::Y(y), .. } => vec![*y],
            Self::Rule { at: Place::X(_), .. } | Self::Stripe { .. } => vec![],
        }
    }
}

/// Draws `mark` as the series with the number `series`.
pub(super) fn mark(chart: &mut Chart, mark: &Mark, series: usize, x: &Placed, y: &Placed) -> Drawn {
    let place = |point: (f64, f64)| x.place(point.0).zip(y.place(point.1));
    match mark {
        Mark::Line { points, .. } => line(chart, points.iter().map(|point| place(*point)), series),
        Mark::Points { points, .. } => points
            .iter()
            .filter_map(|point| place(*point))
            .try_for_each(|spot| marker(chart, spot, series)),
        Mark::Band { points, .. } => {
            let edges =
                points.iter().map(|&(at, low, high)| place((at, low)).zip(place((at, high))));
            band(chart, edges, series)
        }
        Mark::Interval { y: at, low, mid, high, .. } => {
            if let Some(ends) = place((*low, *at)).zip(place((*high, *at))) {
                let style = Ink::Series(series).color().stroke_width(2 * UNIT as u32);
                path(chart, vec![ends.0, ends.1], style)?;
            }
            match place((*mid, *at)) {
                Some(spot) => marker(chart, spot, series),
                None => Ok(()),
            }
        }
        Mark::Rule { at, .. } => {
            let ends = match at {
                Place::X(value) => x.place(*value).map(|at| vec![(at, 0.0), (at, 1.0)]),
                Place::Y(value) => y.place(*value).map(|at| vec![(0.0, at), (1.0, at)]),
            };
            let style = Ink::Muted.color().stroke_width(UNIT as u32);
            ends.map_or(Ok(()), |ends| path(chart, ends, style))
        }
        Mark::Stripe { low, high, .. } => {
            let (left, right) = stripe_edges(*low, *high, x);
            let style = Ink::Stripe.color().mix(0.85).filled();
            let area = Rectangle::new([(left, 0.0), (right, 1.0)], style);
            chart.draw_series([area]).map(drop)
        }
    }
}

/// Where a stripe begins and ends.
pub(super) fn stripe_edges(low: Option<f64>, high: Option<f64>, x: &Placed) -> Spot {
    let edge = |value: Option<f64>, open| value.and_then(|value| x.place(value)).unwrap_or(open);
    (edge(low, 0.0), edge(high, 1.0))
}

/// A line with a gap where a spot is missing. What stands alone between gaps is a dot.
fn line(chart: &mut Chart, spots: impl Iterator<Item = Option<Spot>>, series: usize) -> Drawn {
    let style = Ink::Series(series).color().stroke_width(2 * UNIT as u32);
    for piece in pieces(spots) {
        match piece[..] {
            [spot] => {
                let dot = Circle::new(spot, 2 * UNIT, Ink::Series(series).color().filled());
                chart.draw_series([dot])?;
            }
            _ => path(chart, piece, style)?,
        }
    }
    Ok(())
}

fn band(
    chart: &mut Chart,
    edges: impl Iterator<Item = Option<(Spot, Spot)>>,
    series: usize,
) -> Drawn {
    let color = Ink::Series(series).color().mix(0.2);
    for piece in pieces(edges) {
        if let [(low, high)] = piece[..] {
            path(chart, vec![low, high], color.stroke_width(2 * UNIT as u32))?;
        } else {
            let there = piece.iter().map(|edge| edge.0);
            let back = piece.iter().rev().map(|edge| edge.1);
            chart.draw_series([Polygon::new(
                there.chain(back).collect::<Vec<_>>(),
                color.filled(),
            )])?;
        }
    }
    Ok(())
}

/// The runs of spots between the missing ones.
fn pieces<T: Copy>(spots: impl Iterator<Item = Option<T>>) -> Vec<Vec<T>> {
    let spots: Vec<Option<T>> = spots.collect();
    let runs = spots.split(Option::is_none);
    let known = runs.map(|run| run.iter().flatten().copied().collect::<Vec<T>>());
    known.filter(|run| !run.is_empty()).collect()
}

fn path(chart: &mut Chart, spots: Vec<Spot>, style: ShapeStyle) -> Drawn {
    chart.draw_series([PathElement::new(spots, style)]).map(drop)
}

fn marker(chart: &mut Chart, spot: Spot, series: usize) -> Drawn {
    let shape = Polygon::new(marker_outline(series), Ink::Series(series).color().filled());
    chart.draw_series([EmptyElement::at(spot) + shape]).map(drop)
}

/// The corners of a series' marker, around its middle: a disc, a square, triangles, a diamond.
pub(super) fn marker_outline(series: usize) -> Vec<(i32, i32)> {
    let outline: &[(i32, i32)] = match series % 5 {
        0 => &DISC,
        1 => &[(-9, -9), (9, -9), (9, 9), (-9, 9)],
        2 => &[(0, -12), (11, 8), (-11, 8)],
        3 => &[(0, -13), (13, 0), (0, 13), (-13, 0)],
        _ => &[(0, 12), (11, -8), (-11, -8)],
    };
    outline.iter().map(|(x, y)| (x * MARKER, y * MARKER)).collect()
}

/// A circle of radius 10 in sixteen corners.
const DISC: [(i32, i32); 16] = [
    (10, 0),
    (9, 4),
    (7, 7),
    (4, 9),
    (0, 10),
    (-4, 9),
    (-7, 7),
    (-9, 4),
    (-10, 0),
    (-9, -4),
    (-7, -7),
    (-4, -9),
    (0, -10),
    (4, -9),
    (7, -7),
    (9, -4),
];
