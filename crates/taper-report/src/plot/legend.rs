//! The legend: each series' name beside the end of its line.

use plotters::element::{PathElement, Polygon, Rectangle};
use plotters::style::Color;
use plotters::style::text_anchor::HPos;

use super::axis::Placed;
use super::chart::{Area, SMALL, UNIT, write};
use super::marks::{Drawn, marker_outline};
use super::style::Ink;
use super::text;
use crate::{Mark, Panel};

/// The widest that names may be, in pixels, before they are broken.
const WIDEST: f64 = 120.0;

/// The length of a sample of a line, with the space to the plot before it and to its name.
const SAMPLE: i32 = 20;
const BEFORE: i32 = 8;
const AFTER: i32 = 6;

const LINE_HEIGHT: i32 = 15;
const BETWEEN: i32 = 6;

/// The names beside a plot.
#[derive(Debug)]
pub(super) struct Legend<'a> {
    entries: Vec<Entry<'a>>,
}

#[derive(Debug)]
struct Entry<'a> {
    series: usize,
    marks: Vec<&'a Mark>,
    lines: Vec<String>,
    /// Where the series ends on the vertical axis.
    end: f64,
}

impl<'a> Legend<'a> {
    /// The legend of `panel`; `series` are the figure's series in order.
    pub(super) fn new(panel: &'a Panel, series: &[&str], x: &Placed, y: &Placed) -> Self {
        let mut entries = Vec::new();
        for (number, name) in series.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let of_series = |mark: &&Mark| mark.series() == Some(name);
            let marks: Vec<&Mark> = panel.marks.iter().filter(of_series).collect();
            if !marks.is_empty() {
                let end = marks.iter().rev().find_map(|mark| end(mark, x, y));
                entries.push(Entry {
                    series: number,
                    marks,
                    lines: text::wrap(name, SMALL, WIDEST),
                    end: end.unwrap_or(0.5),
                });
            }
        }
        entries.sort_by(|a, b| b.end.total_cmp(&a.end));
        Self { entries }
    }

    /// Its width in pixels; 0 where there is nothing to name.
    pub(super) fn width(&self) -> i32 {
        let lines = self.entries.iter().flat_map(|entry| &entry.lines);
        let widest = lines.map(|line| text::width(line, SMALL)).reduce(f64::max);
        widest.map_or(0, |widest| BEFORE + SAMPLE + AFTER + widest.ceil() as i32)
    }

    /// The height in pixels that its names need.
    pub(super) fn height(&self) -> i32 {
        self.entries.iter().map(|entry| entry.height() + BETWEEN).sum()
    }

    /// Draws it at the right of a plot that ends at `left` and spans these heights, in pixels.
    pub(super) fn draw(&self, area: &Area, left: i32, (top, bottom): (i32, i32)) -> Drawn {
        let wanted = |entry: &Entry| {
            bottom - (entry.end * f64::from(bottom - top)) as i32 - entry.height() / 2
        };
        // Downwards each as near to its wish as the ones above let it, then upwards so that all fit.
        let mut places: Vec<i32> = Vec::new();
        let mut free = top;
        for entry in &self.entries {
            places.push(wanted(entry).max(free));
            free = places[places.len() - 1] + entry.height() + BETWEEN;
        }
        let mut limit = bottom + BETWEEN;
        for (place, entry) in places.iter_mut().zip(&self.entries).rev() {
            *place = (*place).min(limit - entry.height() - BETWEEN);
            limit = *place;
        }
        for (place, entry) in places.into_iter().zip(&self.entries) {
            entry.draw(area, left + BEFORE, place)?;
        }
        Ok(())
    }
}

impl Entry<'_> {
    fn height(&self) -> i32 {
        LINE_HEIGHT * self.lines.len() as i32
    }

    fn draw(&self, area: &Area, left: i32, top: i32) -> Drawn {
        let color = Ink::Series(self.series).color();
        let middle = (top + LINE_HEIGHT / 2) * UNIT;
        let (start, stop) = (left * UNIT, (left + SAMPLE) * UNIT);
        for mark in &self.marks {
            match mark {
                Mark::Band { .. } => {
                    let corners = [(start, middle - 4 * UNIT), (stop, middle + 4 * UNIT)];
                    area.draw(&Rectangle::new(corners, color.mix(0.2).filled()))?;
                }
                Mark::Line { .. } | Mark::Interval { .. } => {
                    let style = color.stroke_width(2 * UNIT as u32);
                    area.draw(&PathElement::new(vec![(start, middle), (stop, middle)], style))?;
                }
                Mark::Points { .. } | Mark::Rule { .. } | Mark::Stripe { .. } => {}
            }
            if matches!(mark, Mark::Points { .. } | Mark::Interval { .. }) {
                let center = (start + stop) / 2;
                let corners = marker_outline(self.series).into_iter();
                let corners = corners.map(|(x, y)| (center + x, middle + y));
                area.draw(&Polygon::new(corners.collect::<Vec<_>>(), color.filled()))?;
            }
        }
        for (line, row) in self.lines.iter().zip(0..) {
            let at = (left + SAMPLE + AFTER, top + LINE_HEIGHT / 2 + LINE_HEIGHT * row);
            write(area, line, at, HPos::Left, Ink::Text, SMALL)?;
        }
        Ok(())
    }
}

/// Where the last spot of `mark` is on the vertical axis.
fn end(mark: &Mark, x: &Placed, y: &Placed) -> Option<f64> {
    let spot = |at: f64, value: f64| x.place(at).and(y.place(value));
    match mark {
        Mark::Line { points, .. } | Mark::Points { points, .. } => {
            points.iter().rev().find_map(|point| spot(point.0, point.1))
        }
        Mark::Band { points, .. } => {
            points.iter().rev().find_map(|point| spot(point.0, point.1 / 2.0 + point.2 / 2.0))
        }
        Mark::Interval { y: at, mid, .. } => spot(*mid, *at),
        Mark::Rule { .. } | Mark::Stripe { .. } => None,
    }
}
