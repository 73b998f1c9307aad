//! The legend: the name of each series and horizontal rule beside the place where it ends.

use plotters::element::{PathElement, Polygon, Rectangle};
use plotters::style::Color;
use plotters::style::text_anchor::HPos;

use super::axis::Placed;
use super::canvas::{Area, Drawn, LINE, SMALL, UNIT, write};
use super::marks::marker_outline;
use super::style::Ink;
use super::text;
use crate::{Mark, Panel, Place};

/// The widest that names may be before they are broken. Lengths are in pixels.
const WIDEST: f64 = 110.0;

/// The length of a sample of a line, with the space to the plot before it and to its name.
const SAMPLE: i32 = 20;
const BEFORE: i32 = 8;
const AFTER: i32 = 6;

/// The space between two names, and after the widest.
const BETWEEN: i32 = 5;

/// The names beside a plot.
#[derive(Debug)]
pub(super) struct Legend {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    ink: Ink,
    band: bool,
    /// The width of its line, if it has one.
    line: Option<u32>,
    /// The corners of its marker, if it has one.
    marker: Option<Vec<(i32, i32)>>,
    name: Vec<String>,
    /// Where it ends on the vertical axis.
    end: f64,
}

impl Legend {
    /// The legend of `panel`; `series` are the figure's series in order.
    pub(super) fn new(panel: &Panel, series: &[&str], x: &Placed, y: &Placed) -> Self {
        let of_series = series.iter().enumerate().filter(|(_, name)| !name.is_empty());
        let of_series =
            of_series.filter_map(|(number, name)| Entry::series(panel, number, name, x, y));
        let of_rules = panel.marks.iter().filter_map(|mark| Entry::rule(mark, y));
        let mut entries: Vec<Entry> = of_series.chain(of_rules).collect();
        entries.sort_by(|a, b| b.end.total_cmp(&a.end));
        Self { entries }
    }

    /// Its width; 0 where there is nothing to name.
    pub(super) fn width(&self) -> i32 {
        let lines = self.entries.iter().flat_map(|entry| &entry.name);
        let widest = lines.map(|line| text::width(line, SMALL)).reduce(f64::max);
        widest.map_or(0, |widest| BEFORE + SAMPLE + AFTER + widest.ceil() as i32 + BETWEEN)
    }

    /// The height that its names need.
    pub(super) fn height(&self) -> i32 {
        self.entries.iter().map(|entry| entry.height() + BETWEEN).sum()
    }

    /// Draws it at the right of a plot that ends at `left` and spans these heights.
    pub(super) fn draw(&self, area: &Area, left: i32, (top, bottom): (i32, i32)) -> Drawn {
        let wanted =
            |entry: &Entry| bottom - (entry.end * f64::from(bottom - top)) as i32 - LINE / 2;
        // Downwards each as near to its wish as the ones above let it, then upwards so that all fit.
        let mut places: Vec<i32> = Vec::new();
        let mut free = top;
        for entry in &self.entries {
            let place = wanted(entry).max(free);
            places.push(place);
            free = place + entry.height() + BETWEEN;
        }
        let mut limit = bottom + BETWEEN;
        for (place, entry) in places.iter_mut().zip(&self.entries).rev() {
            *place = (*place).min(limit - entry.height() - BETWEEN);
            limit = *place;
        }
        for (place, entry) in places.into_iter().zip(&self.entries) {
            entry.draw(area, (left + BEFORE, place + LINE / 2))?;
        }
        Ok(())
    }
}

impl Entry {
    /// The entry of a series, if it is in this panel.
    fn series(panel: &Panel, number: usize, name: &str, x: &Placed, y: &Placed) -> Option<Self> {
        let marks = || panel.marks.iter().filter(|mark| mark.series() == Some(name));
        marks().next()?;
        let is_interval = |mark: &Mark| matches!(mark, Mark::Interval { .. });
        let is_line = |mark: &Mark| matches!(mark, Mark::Line { .. });
        let is_points = |mark: &Mark| matches!(mark, Mark::Points { .. });
        Some(Self {
            ink: Ink::Series(number),
            band: marks().any(|mark| matches!(mark, Mark::Band { .. })),
            line: marks().any(|mark| is_line(mark) || is_interval(mark)).then_some(2),
            marker: marks()
                .any(|mark| is_points(mark) || is_interval(mark))
                .then(|| marker_outline(number)),
            name: text::wrap(name, SMALL, WIDEST),
            end: marks().filter_map(|mark| end(mark, x, y)).next_back().unwrap_or(0.5),
        })
    }

    /// The entry of a horizontal rule that can be shown.
    fn rule(mark: &Mark, y: &Placed) -> Option<Self> {
        let Mark::Rule { label, at: Place::Y(value) } = mark else { return None };
        let name = text::wrap(label, SMALL, WIDEST);
        let entry = Self {
            ink: Ink::Muted,
            band: false,
            line: Some(1),
            marker: None,
            name,
            end: y.place(*value)?,
        };
        (!entry.name.is_empty()).then_some(entry)
    }

    fn height(&self) -> i32 {
        LINE * self.name.len() as i32
    }

    /// Draws it with the vertical middle of its first line here.
    fn draw(&self, area: &Area, (left, middle): (i32, i32)) -> Drawn {
        let color = self.ink.color();
        let (start, stop, height) = (left * UNIT, (left + SAMPLE) * UNIT, middle * UNIT);
        if self.band {
            let corners = [(start, height - 4 * UNIT), (stop, height + 4 * UNIT)];
            area.draw(&Rectangle::new(corners, color.mix(0.2).filled()))?;
        }
        if let Some(width) = self.line {
            let style = color.stroke_width(width * UNIT as u32);
            area.draw(&PathElement::new(vec![(start, height), (stop, height)], style))?;
        }
        if let Some(outline) = &self.marker {
            let center = (start + stop) / 2;
            let corners = outline.iter().map(|(x, y)| (center + x, height + y));
            area.draw(&Polygon::new(corners.collect::<Vec<_>>(), color.filled()))?;
        }
        let beside = (left + SAMPLE + AFTER, middle);
        write(area, &self.name, beside, HPos::Left, Ink::Text, SMALL)
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
