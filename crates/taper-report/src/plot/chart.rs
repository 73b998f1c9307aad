//! One panel as an SVG image.

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::PathElement;
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, TextStyle};

use super::axis::Placed;
use super::legend::Legend;
use super::marks::{Drawn, mark, stripe_edges};
use super::style::{Ink, themed};
use super::text;
use crate::{Axis, Error, Figure, Mark, Panel, Place, Result, Scale};

/// The drawing library places things on whole pixels, which makes smooth curves jagged: it draws ten
/// times as large, and the image's view box takes it back.
pub(super) const UNIT: i32 = 10;

/// The size of text in pixels, and of text that is less important.
const NORMAL: f64 = 13.0;
pub(super) const SMALL: f64 = 12.0;

const WIDTH: i32 = 520;
const HEIGHT: i32 = 250;
const ROW: i32 = 34;
const LINE: i32 = 16;
const GAP: i32 = 7;
const WIDEST_CATEGORY: f64 = 150.0;

/// A drawing area in tenths of a pixel.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// `panel` of `figure` as an `svg` element that takes its colours from [`super::stylesheet`].
pub(crate) fn draw(figure: &Figure, panel: &Panel) -> Result<String> {
    let plot = Plot::new(figure, panel);
    let mut svg = String::new();
    plot.draw(&mut svg)
        .map_err(|error| Error::Figure { id: figure.id.clone(), reason: error.to_string() })?;
    // The library's own `svg` tag fixes the size and says nothing to a screen reader.
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let title = match panel.title.as_str() {
        "" => figure.title.clone(),
        of_panel => format!("{}: {of_panel}", figure.title),
    };
    let (width, height) = (WIDTH, plot.height());
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {} {}\"><title>{}</title><desc>{}</desc>{}",
        width * UNIT,
        height * UNIT,
        escape(&title),
        escape(&figure.caption),
        themed(body),
    ))
}

fn escape(text: &str) -> String {
    let visible = text.chars().filter(|character| !character.is_control() || *character == '\n');
    let visible: String = visible.collect();
    visible.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A panel with everything that its drawing needs to know beforehand. Lengths are in pixels.
struct Plot<'a> {
    panel: &'a Panel,
    series: Vec<&'a str>,
    x: Placed,
    y: Placed,
    legend: Legend<'a>,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    /// The horizontal axis' tick labels in lines, and its name.
    x_ticks: Vec<Vec<String>>,
    x_label: Vec<String>,
    y_ticks: Vec<Vec<String>>,
    y_label: Vec<String>,
}

impl<'a> Plot<'a> {
    fn new(figure: &'a Figure, panel: &'a Panel) -> Self {
        let series = series(figure);
        let x = Placed::new(&panel.x, panel.marks.iter().flat_map(Mark::xs));
        let y = Placed::new(&panel.y, panel.marks.iter().flat_map(Mark::ys));
        let y = if matches!(panel.y.scale, Scale::Categories(_)) { y.reversed() } else { y };
        let legend = Legend::new(panel, &series, &x, &y);
        let y_ticks = tick_lines(&panel.y, &y, WIDEST_CATEGORY);
        let widest = y_ticks.iter().flatten().map(|line| text::width(line, SMALL));
        let left = widest.fold(10.0, f64::max).ceil() as i32 + GAP + 2;
        let right = WIDTH - legend.width().max(16);
        let slot = f64::from(right - left) / x.ticks.len().max(1) as f64;
        let x_ticks = tick_lines(&panel.x, &x, slot);
        let x_label = text::wrap(&panel.x.label, NORMAL, f64::from(right - left));
        let y_label = text::wrap(&panel.y.label, NORMAL, f64::from(WIDTH));
        let header = lines(&y_label)
            + LINE * i32::from(has_rule(panel))
            + LINE * i32::from(has_stripe(panel));
        let top = header + GAP;
        let rows = match panel.y.scale {
            Scale::Categories(_) => {
                y_ticks.iter().map(|lines| ROW.max(13 * lines.len() as i32 + 8)).max()
            }
            Scale::Linear | Scale::Log => None,
        };
        let height = rows.map_or(HEIGHT, |row| row * y_ticks.len() as i32);
        let bottom = top + height.max(legend.height());
        Self {
            panel,
            series,
            x,
            y,
            legend,
            left,
            right,
            top,
            bottom,
            x_ticks,
            x_label,
            y_ticks,
            y_label,
        }
    }

    fn height(&self) -> i32 {
        let ticks = self.x_ticks.iter().map(|label| lines(label)).max().unwrap_or(0);
        self.bottom + GAP + ticks + lines(&self.x_label) + GAP
    }

    fn draw(&self, svg: &mut String) -> Drawn {
        let size = ((WIDTH * UNIT) as u32, (self.height() * UNIT) as u32);
        let area = SVGBackend::with_string(svg, size).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_left(self.left * UNIT)
            .margin_right((WIDTH - self.right) * UNIT)
            .margin_top(self.top * UNIT)
            .margin_bottom((self.height() - self.bottom) * UNIT)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        // Stripes go under the grid.
        let (stripes, others): (Vec<&Mark>, Vec<&Mark>) =
            self.panel.marks.iter().partition(|mark| matches!(mark, Mark::Stripe { .. }));
        for stripe in stripes {
            mark(&mut chart, stripe, 0, &self.x, &self.y)?;
        }
        self.draw_axes(&area)?;
        for other in others {
            let number = self.series.iter().position(|name| other.series() == Some(name));
            mark(&mut chart, other, number.unwrap_or(0), &self.x, &self.y)?;
        }
        self.draw_names(&area)?;
        self.legend.draw(&area, self.right, (self.top, self.bottom))?;
        area.present()
    }

    /// The grid, the frame's left and lower side, and the ticks' labels.
    fn draw_axes(&self, area: &Area) -> Drawn {
        for ((at, _), label) in self.x.ticks.iter().zip(&self.x_ticks) {
            let x = self.across(*at);
            self.rule(area, [(x, self.top), (x, self.bottom)], Ink::Grid)?;
            block(area, label, (x, self.bottom + GAP + LINE / 2), HPos::Center, Ink::Muted)?;
        }
        for ((at, _), label) in self.y.ticks.iter().zip(&self.y_ticks) {
            let y = self.down(*at);
            self.rule(area, [(self.left, y), (self.right, y)], Ink::Grid)?;
            let first = y - 13 * (label.len() as i32 - 1) / 2;
            block(area, label, (self.left - GAP, first), HPos::Right, Ink::Muted)?;
        }
        self.rule(area, [(self.left, self.bottom), (self.right, self.bottom)], Ink::Muted)?;
        self.rule(area, [(self.left, self.top), (self.left, self.bottom)], Ink::Muted)
    }
}

impl Plot<'_> {
    /// The axes' names and those of rules and stripes, each kind on a line of its own so that they
    /// never meet each other or the data.
    fn draw_names(&self, area: &Area) -> Drawn {
        let under = self.height() - GAP - lines(&self.x_label) + LINE / 2;
        let middle = (self.left + self.right) / 2;
        for (line, y) in self.x_label.iter().zip((under..).step_by(LINE as usize)) {
            write(area, line, (middle, y), HPos::Center, Ink::Text, NORMAL)?;
        }
        for (line, y) in self.y_label.iter().zip((LINE / 2..).step_by(LINE as usize)) {
            write(area, line, (0, y), HPos::Left, Ink::Text, NORMAL)?;
        }
        let stripes = self.top - GAP + LINE / 2 - 2 - LINE;
        let rules = stripes - LINE * i32::from(has_stripe(self.panel));
        for mark in &self.panel.marks {
            match mark {
                Mark::Stripe { label, low, high } => {
                    let (from, to) = stripe_edges(*low, *high, &self.x);
                    self.write_above(area, label, from / 2.0 + to / 2.0, stripes)?;
                }
                Mark::Rule { label, at: Place::X(value) } => {
                    if let Some(at) = self.x.place(*value) {
                        self.write_above(area, label, at, rules)?;
                    }
                }
                Mark::Rule { label, at: Place::Y(value) } => {
                    if let Some(at) = self.y.place(*value) {
                        let above = (self.right - 4, self.down(at) - LINE / 2);
                        write(area, label, above, HPos::Right, Ink::Muted, SMALL)?;
                    }
                }
                Mark::Line { .. }
                | Mark::Band { .. }
                | Mark::Points { .. }
                | Mark::Interval { .. } => {}
            }
        }
        Ok(())
    }

    /// Writes over the plot, centred on the position `at` as far as the image's edges let it.
    fn write_above(&self, area: &Area, label: &str, at: f64, y: i32) -> Drawn {
        let half = (text::width(label, SMALL) / 2.0).ceil() as i32;
        let x = self.across(at).min(WIDTH - half).max(half);
        write(area, label, (x, y), HPos::Center, Ink::Muted, SMALL)
    }

    fn rule(&self, area: &Area, ends: [(i32, i32); 2], ink: Ink) -> Drawn {
        let ends = ends.map(|(x, y)| (x * UNIT, y * UNIT));
        area.draw(&PathElement::new(ends.to_vec(), ink.color().stroke_width(UNIT as u32)))
    }

    fn across(&self, at: f64) -> i32 {
        self.left + (at * f64::from(self.right - self.left)).round() as i32
    }

    fn down(&self, at: f64) -> i32 {
        self.bottom - (at * f64::from(self.bottom - self.top)).round() as i32
    }
}

/// The figure's series in the order in which they appear, so that each looks the same in all panels.
fn series(figure: &Figure) -> Vec<&str> {
    let mut series = Vec::new();
    for name in figure.panels.iter().flat_map(|panel| &panel.marks).filter_map(Mark::series) {
        if !series.contains(&name) {
            series.push(name);
        }
    }
    series
}

fn has_rule(panel: &Panel) -> bool {
    let labelled =
        |mark: &Mark| matches!(mark, Mark::Rule { label, at: Place::X(_) } if !label.is_empty());
    panel.marks.iter().any(labelled)
}

fn has_stripe(panel: &Panel) -> bool {
    panel.marks.iter().any(|mark| matches!(mark, Mark::Stripe { label, .. } if !label.is_empty()))
}

/// Each tick's label in lines: names are broken at `widest`, numbers are not.
fn tick_lines(axis: &Axis, placed: &Placed, widest: f64) -> Vec<Vec<String>> {
    let labels = placed.ticks.iter().map(|(_, label)| match axis.scale {
        Scale::Categories(_) => text::wrap(label, SMALL, widest),
        Scale::Linear | Scale::Log => vec![label.clone()],
    });
    labels.collect()
}

fn lines(block: &[String]) -> i32 {
    LINE * block.len() as i32
}

/// Writes lines below each other; the middle of the first is at `(x, y)`.
fn block(area: &Area, lines: &[String], (x, y): (i32, i32), align: HPos, ink: Ink) -> Drawn {
    for (line, y) in lines.iter().zip((y..).step_by(13)) {
        write(area, line, (x, y), align, ink, SMALL)?;
    }
    Ok(())
}

/// Writes one line whose vertical middle is at `(x, y)`, in pixels.
pub(super) fn write(
    area: &Area,
    text: &str,
    (x, y): (i32, i32),
    align: HPos,
    ink: Ink,
    size: f64,
) -> Drawn {
    let shown: String = text.chars().filter(|character| !character.is_control()).collect();
    // The library divides the size by 1.24.
    let font = ("sans-serif", 1.24 * size * f64::from(UNIT)).into_font();
    let color = ink.color();
    let style = TextStyle::from(font).color(&color).pos(Pos::new(align, VPos::Center));
    area.draw_text(&shown, &style, (x * UNIT, y * UNIT))
}
