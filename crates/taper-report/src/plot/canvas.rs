//! What a panel is drawn on: lengths are in pixels, text in a few sizes.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::PathElement;
use plotters::prelude::{DrawingAreaErrorKind, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, TextStyle};

use super::style::Ink;

/// The drawing library places things on whole pixels, which makes smooth curves jagged: it draws ten
/// times as large, and the image's view box takes it back.
pub(super) const UNIT: i32 = 10;

/// The width of an image: its text stays legible on a phone, which shows it a little smaller.
pub(super) const WIDTH: i32 = 440;

/// The size of text, and of text that is less important.
pub(super) const NORMAL: f64 = 13.0;
pub(super) const SMALL: f64 = 12.0;

/// The height of a line of text.
pub(super) const LINE: i32 = 15;

/// A drawing area in tenths of a pixel.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What drawing returns.
pub(super) type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Writes `lines` below each other; the vertical middle of the first is at `(x, y)`.
pub(super) fn write(
    area: &Area,
    lines: &[String],
    (x, y): (i32, i32),
    align: HPos,
    ink: Ink,
    size: f64,
) -> Drawn {
    // The library divides the size by 1.24.
    let font = ("sans-serif", 1.24 * size * f64::from(UNIT)).into_font();
    let color = ink.color();
    let style = TextStyle::from(font).color(&color).pos(Pos::new(align, VPos::Center));
    for (line, y) in lines.iter().zip((y..).step_by(LINE as usize)) {
        area.draw_text(line, &style, (x * UNIT, y * UNIT))?;
    }
    Ok(())
}

/// Draws a thin straight line.
pub(super) fn thin(area: &Area, ends: [(i32, i32); 2], ink: Ink) -> Drawn {
    let ends = ends.map(|(x, y)| (x * UNIT, y * UNIT));
    area.draw(&PathElement::new(ends.to_vec(), ink.color().stroke_width(UNIT as u32)))
}
