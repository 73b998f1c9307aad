//! One panel as an SVG image.

use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea;
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::HPos;

use super::above::{Above, above};
use super::axis::Placed;
use super::canvas::{Area, Drawn, LINE, NORMAL, SMALL, UNIT, WIDTH, thin, write};
use super::legend::Legend;
use super::marks::mark;
use super::style::{Ink, themed};
use super::text;
use crate::{Axis, Error, Figure, Mark, Panel, Result, Scale};

/// The height of a plot, and that of a category in one whose vertical axis has names.
const HEIGHT: i32 = 230;
const ROW: i32 = 32;

/// The space around the plot's frame.
const GAP: i32 = 7;

/// The widest that names on the vertical axis may be before they are broken.
const WIDEST: f64 = 130.0;

/// `panel` of `figure` as an `svg` element that takes its colours from [`super::stylesheet`].
pub(crate) fn draw(figure: &Figure, panel: &Panel) -> Result<String> {
    let plot = Plot::new(figure, panel);
    let mut svg = String::new();
    plot.draw(&mut svg)
        .map_err(|error| Error::Figure { id: figure.id.clone(), reason: error.to_string() })?;
    // The library's own `svg` tag says nothing to a screen reader.
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let title = match panel.title.as_str() {
        "" => figure.title.clone(),
        of_panel => format!("{}: {of_panel}", figure.title),
    };
    let height = plot.height();
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" width=\"{WIDTH}\" \
         height=\"{height}\" viewBox=\"0 0 {} {}\">\n<title>{}</title>\n<desc>{}</desc>\n{}",
        WIDTH * UNIT,
        height * UNIT,
        text::escape(&title),
        text::escape(&figure.caption),
        themed(body.trim()),
    ))
}

/// A panel with everything that its drawing needs to know beforehand.
struct Plot<'a> {
    panel: &'a Panel,
    series: Vec<&'a str>,
    x: Placed,
    y: Placed,
    legend: Legend,
    above: Vec<Above>,
    /// The axes' names, and their ticks' labels, in lines.
    x_name: Vec<String>,
    y_name: Vec<String>,
    x_ticks: Vec<Vec<String>>,
    y_ticks: Vec<Vec<String>>,
    /// The plot's edges.
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl<'a> Plot<'a> {
    fn new(figure: &'a Figure, panel: &'a Panel) -> Self {
        let series = series(figure);
        // Panels with the same axis show the same range, so that they can be compared.
        let same_x = figure.panels.iter().filter(|other| other.x == panel.x);
        let same_y = figure.panels.iter().filter(|other| other.y == panel.y);
        let x = Placed::new(&panel.x, same_x.flat_map(|panel| &panel.marks).flat_map(Mark::xs));
        let mut y = Placed::new(&panel.y, same_y.flat_map(|panel| &panel.marks).flat_map(Mark::ys));
        if matches!(panel.y.scale, Scale::Categories(_)) {
            y = y.reversed();
        }
        let legend = Legend::new(panel, &series, &x, &y);
        let y_ticks = tick_lines(&panel.y, &y, WIDEST);
        let left = GAP + 2 + widest(&y_ticks).max(widest_category(figure));
        let right = WIDTH - legend.width().max(16);
        let slot = f64::from(right - left) / x.ticks.len().max(1) as f64;
        let above = above(panel, &x, (left, right));
        let y_name = text::wrap(&panel.y.label, NORMAL, f64::from(WIDTH));
        let rows = above.iter().map(|name| name.row + 1).max().unwrap_or(0);
        let top = LINE * (y_name.len() as i32 + rows) + GAP;
        let categories = y_ticks.iter().map(|label| ROW.max(LINE * label.len() as i32 + GAP)).max();
        let height = match (&panel.y.scale, categories) {
            (Scale::Categories(_), Some(row)) => row * y_ticks.len() as i32,
            _ => HEIGHT,
        };
        Self {
            panel,
            series,
            x_name: text::wrap(&panel.x.label, NORMAL, f64::from(WIDTH - left)),
            x_ticks: tick_lines(&panel.x, &x, slot),
            bottom: top + height.max(legend.height()),
            x,
            y,
            legend,
            above,
            y_name,
            y_ticks,
            left,
            right,
            top,
        }
    }

    fn height(&self) -> i32 {
        let ticks = self.x_ticks.iter().map(Vec::len).max().unwrap_or(0);
        self.bottom + GAP + LINE * (ticks + self.x_name.len()) as i32 + GAP
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
            let x = self.left + (at * f64::from(self.right - self.left)).round() as i32;
            let below = (x, self.bottom + GAP + LINE / 2);
            thin(area, [(x, self.top), (x, self.bottom)], Ink::Grid)?;
            write(area, label, below, HPos::Center, Ink::Muted, SMALL)?;
        }
        for ((at, _), label) in self.y.ticks.iter().zip(&self.y_ticks) {
            let y = self.bottom - (at * f64::from(self.bottom - self.top)).round() as i32;
            let beside = (self.left - GAP, y - LINE * (label.len() as i32 - 1) / 2);
            thin(area, [(self.left, y), (self.right, y)], Ink::Grid)?;
            write(area, label, beside, HPos::Right, Ink::Muted, SMALL)?;
        }
        let corner = (self.left, self.bottom);
        thin(area, [corner, (self.right, self.bottom)], Ink::Muted)?;
        thin(area, [(self.left, self.top), corner], Ink::Muted)
    }

    /// The names of the axes, and those above the plot.
    fn draw_names(&self, area: &Area) -> Drawn {
        write(area, &self.y_name, (0, LINE / 2), HPos::Left, Ink::Text, NORMAL)?;
        let middle = (self.left + self.right) / 2;
        let under = self.height() - GAP - LINE * self.x_name.len() as i32 + LINE / 2;
        write(area, &self.x_name, (middle, under), HPos::Center, Ink::Text, NORMAL)?;
        for Above { text, x, row } in &self.above {
            let over = (*x, self.top - GAP / 2 - LINE * row - LINE / 2);
            write(area, std::slice::from_ref(text), over, HPos::Center, Ink::Muted, SMALL)?;
        }
        Ok(())
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

/// Each tick's label in lines: names are broken at `widest`, numbers are not.
fn tick_lines(axis: &Axis, placed: &Placed, widest: f64) -> Vec<Vec<String>> {
    let labels = placed.ticks.iter().map(|(_, label)| match axis.scale {
        Scale::Categories(_) => text::wrap(label, SMALL, widest),
        Scale::Linear | Scale::Log => vec![label.clone()],
    });
    labels.collect()
}

/// The widest name on any vertical axis of the figure, so that panels below each other align.
fn widest_category(figure: &Figure) -> i32 {
    let names = figure.panels.iter().filter_map(|panel| match &panel.y.scale {
        Scale::Categories(names) => Some(names),
        Scale::Linear | Scale::Log => None,
    });
    let names: Vec<_> = names.flatten().map(|name| text::wrap(name, SMALL, WIDEST)).collect();
    widest(&names)
}

fn widest(labels: &[Vec<String>]) -> i32 {
    let widths = labels.iter().flatten().map(|line| text::width(line, SMALL));
    widths.fold(0.0, f64::max).ceil() as i32
}
