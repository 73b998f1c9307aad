//! The names of vertical rules and stripes, over the plot where they meet no data.

use super::axis::Placed;
use super::canvas::{SMALL, WIDTH};
use super::marks::stripe_edges;
use super::text;
use crate::{Mark, Panel, Place};

/// The space that is kept between two names in one row, in pixels.
const BETWEEN: i32 = 8;

/// A name and its place.
#[derive(Debug, PartialEq)]
pub(super) struct Above {
    pub(super) text: String,
    /// Where its middle is, in pixels.
    pub(super) x: i32,
    /// The row, counted from the plot upwards.
    pub(super) row: i32,
}

/// Places the names of `panel` over a plot between these edges, each in the lowest row that has
/// room for it.
pub(super) fn above(panel: &Panel, axis: &Placed, (left, right): (i32, i32)) -> Vec<Above> {
    let mut names: Vec<(&str, f64)> =
        panel.marks.iter().filter_map(|mark| name(mark, axis)).collect();
    names.sort_by(|a, b| a.1.total_cmp(&b.1));
    // How far each row is taken.
    let mut taken: Vec<i32> = Vec::new();
    let place = |(name, at): (&str, f64)| {
        let half = (text::width(name, SMALL) / 2.0).ceil() as i32;
        let x = left + (at * f64::from(right - left)).round() as i32;
        let x = x.min(WIDTH - half).max(half);
        let free = taken.iter().position(|end| end + BETWEEN <= x - half);
        let row = free.unwrap_or(taken.len());
        match taken.get_mut(row) {
            Some(end) => *end = x + half,
            None => taken.push(x + half),
        }
        Above { text: text::plain(name), x, row: row as i32 }
    };
    names.into_iter().map(place).collect()
}

/// What is written over `mark`, and where.
fn name<'a>(mark: &'a Mark, axis: &Placed) -> Option<(&'a str, f64)> {
    let (label, at) = match mark {
        Mark::Rule { label, at: Place::X(value) } => (label, axis.place(*value)?),
        Mark::Stripe { label, low, high } => {
            let (from, to) = stripe_edges(*low, *high, axis);
            (label, from / 2.0 + to / 2.0)
        }
        Mark::Rule { at: Place::Y(_), .. }
        | Mark::Line { .. }
        | Mark::Band { .. }
        | Mark::Points { .. }
        | Mark::Interval { .. } => return None,
    };
    (!label.is_empty()).then_some((label.as_str(), at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Axis, Scale};

    #[test]
    fn names_that_would_meet_go_over_each_other() {
        let rule = |label: &str, at| Mark::Rule { label: label.into(), at: Place::X(at) };
        let axis = || Axis { label: String::new(), scale: Scale::Linear };
        let panel = |marks| Panel { title: String::new(), x: axis(), y: axis(), marks };
        let rows = |marks: Vec<Mark>| {
            let panel = panel(marks);
            let x = Placed::new(&panel.x, panel.marks.iter().flat_map(Mark::xs));
            above(&panel, &x, (50, 400)).iter().map(|name| name.row).collect::<Vec<_>>()
        };
        assert_eq!(rows(vec![rule("here", 0.0), rule("there", 1.0)]), [0, 0]);
        assert_eq!(
            rows(vec![rule("here", 0.0), rule("near", 0.05), rule("there", 1.0)]),
            [0, 1, 0]
        );
        assert_eq!(rows(vec![rule("", 0.0), rule("nowhere", f64::NAN)]), [0; 0]);
    }
}
