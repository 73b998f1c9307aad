//! From values to positions, and the ticks between.
//!
//! Positions are in [0, 1], so that the drawing library only ever sees tame numbers: ranges that are
//! empty, constant or enormous end here.

use crate::number::{number, without_trailing_zeros};
use crate::{Axis, Scale};

/// Values beyond this are gaps like infinities: the width of a range must stay finite.
const LARGEST: f64 = 1e300;

/// Below this share of its values a range counts as a single value: ticks would differ in digits
/// that a float does not hold.
const NARROWEST: f64 = 1e-12;

/// How many ticks are aimed at.
const TICKS: f64 = 5.0;

/// Room between the outermost values and the frame, as a share of the range.
const PADDING: f64 = 0.05;

/// An axis with its range.
#[derive(Debug)]
pub(super) struct Placed {
    transform: Transform,
    low: f64,
    high: f64,
    /// Where the ticks are, with their labels.
    pub(super) ticks: Vec<(f64, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Transform {
    Linear,
    Log10,
}

impl Placed {
    /// The axis that shows all of `values`.
    pub(super) fn new(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let transform = match axis.scale {
            Scale::Log => Transform::Log10,
            Scale::Linear | Scale::Categories(_) => Transform::Linear,
        };
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter_map(|value| transform.apply(value)) {
            (low, high) = (low.min(value), high.max(value));
        }
        if let Scale::Categories(names) = &axis.scale {
            let ticks = (0..).map(f64::from).zip(names.iter().cloned()).collect();
            return Self {
                transform,
                low: -0.5,
                high: (names.len() as f64).max(1.0) - 0.5,
                ticks: Vec::new(),
            }
            .with_ticks(ticks);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if high - low <= NARROWEST * low.abs().max(high.abs()) || high - low < 1.0 / LARGEST {
            let room = if low.abs() < 1.0 / LARGEST { 1.0 } else { 0.1 * low.abs() };
            (low, high) = (low - room, high + room);
        }
        let padding = PADDING * (high - low);
        let placed =
            Self { transform, low: low - padding, high: high + padding, ticks: Vec::new() };
        let ticks = match transform {
            Transform::Linear => linear_ticks(placed.low, placed.high),
            Transform::Log10 => log_ticks(placed.low, placed.high),
        };
        placed.with_ticks(ticks)
    }

    fn with_ticks(mut self, ticks: Vec<(f64, String)>) -> Self {
        let placed =
            ticks.into_iter().filter_map(|(value, label)| Some((self.place(value)?, label)));
        self.ticks = placed.collect();
        self
    }

    /// The same axis from its end to its start.
    pub(super) fn reversed(mut self) -> Self {
        std::mem::swap(&mut self.low, &mut self.high);
        for (at, _) in &mut self.ticks {
            *at = 1.0 - *at;
        }
        self
    }

    /// Where `value` is; none where it cannot be shown.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let value = self.transform.apply(value)?;
        let at = (value - self.low) / (self.high - self.low);
        // Only beyond the first or last category does a value lie outside.
        (0.0..=1.0).contains(&at).then_some(at)
    }
}

impl Transform {
    fn apply(self, value: f64) -> Option<f64> {
        let value = match self {
            Self::Linear => value,
            Self::Log10 => value.log10(),
        };
        (value.abs() <= LARGEST).then_some(value)
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let raw = (high - low) / TICKS;
    let power = raw.log10().floor();
    let magnitude = 10_f64.powf(power);
    let (factor, power) = match raw / magnitude {
        share if share < 1.5 => (1.0, power),
        share if share < 3.5 => (2.0, power),
        share if share < 7.5 => (5.0, power),
        _ => (1.0, power + 1.0),
    };
    let step = factor * 10_f64.powf(power);
    let first = (low / step).ceil();
    // Counted, not added up: a sum would drift, and would stand still where the step is below the
    // values' precision.
    (0..=2 * TICKS as u32)
        .map(|index| (first + f64::from(index)) * step)
        .take_while(|value| *value <= high)
        .map(|value| (value, tick_label(value, power, low.abs().max(high.abs()))))
        .collect()
}

/// `value` with the digits that tell neighbours apart, which are a power of ten apart.
fn tick_label(value: f64, power: f64, largest: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if power >= -5.0 && largest < 1e6 {
        let decimals = (-power).max(0.0) as usize;
        return format!("{value:.decimals$}");
    }
    let digits = (value.abs().log10().floor() - power).clamp(0.0, 15.0) as usize;
    let scientific = format!("{value:.digits$e}");
    match scientific.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", without_trailing_zeros(mantissa)),
        None => scientific,
    }
}

/// Powers of ten; 1, 2 and 5 times a power of ten where there are few; plain steps where there are
/// hardly any of those. `low` and `high` are logarithms.
fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let (first, last) = (low.ceil(), high.floor());
    if last - first >= 2.0 {
        let every = ((last - first) / TICKS).ceil().max(1.0);
        return (0..=TICKS as u32 + 1)
            .map(|index| first + f64::from(index) * every)
            .take_while(|exponent| *exponent <= last)
            .map(|exponent| 10_f64.powf(exponent))
            .map(|value| (value, number(value)))
            .collect();
    }
    let fine: Vec<_> = [first - 1.0, first, first + 1.0, first + 2.0]
        .into_iter()
        .flat_map(|exponent| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powf(exponent)))
        .filter(|value| (low..=high).contains(&value.log10()))
        .map(|value| (value, number(value)))
        .collect();
    if fine.len() >= 2 {
        return fine;
    }
    linear_ticks(10_f64.powf(low), 10_f64.powf(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis { label: String::new(), scale };
        let placed = Placed::new(&axis, values.iter().copied());
        placed.ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_short() {
        assert_eq!(labels(Scale::Linear, &[0.0, 1.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            labels(Scale::Linear, &[-0.3, 0.3]),
            ["-0.3", "-0.2", "-0.1", "0", "0.1", "0.2", "0.3"]
        );
        assert_eq!(
            labels(Scale::Linear, &[0.0, 5e-6]),
            ["0", "1e-6", "2e-6", "3e-6", "4e-6", "5e-6"]
        );
        assert_eq!(
            labels(Scale::Linear, &[0.0, 2.4e7]),
            ["0", "5e6", "1e7", "1.5e7", "2e7", "2.5e7"]
        );
        assert_eq!(
            labels(Scale::Linear, &[100.0, 400.0]),
            ["100", "150", "200", "250", "300", "350", "400"]
        );
    }

    #[test]
    fn log_ticks_are_powers_or_finer() {
        assert_eq!(labels(Scale::Log, &[1.0, 1000.0]), ["1", "10", "100", "1000"]);
        assert_eq!(labels(Scale::Log, &[1e-9, 1e9]), ["1e-9", "1e-5", "0.1", "1000", "1e7"]);
        assert_eq!(labels(Scale::Log, &[1.0, 30.0]), ["1", "2", "5", "10", "20"]);
        assert_eq!(
            labels(Scale::Log, &[10.1, 10.4]),
            ["10.10", "10.15", "10.20", "10.25", "10.30", "10.35", "10.40"]
        );
    }

    #[test]
    fn ranges_without_width_get_some() {
        assert_eq!(labels(Scale::Linear, &[]).first().map(String::as_str), Some("0"));
        assert!(labels(Scale::Linear, &[3.0, 3.0]).contains(&"3.0".to_owned()));
        for value in [0.0, -1e300, 1e-320, 0.1 + 0.2, f64::NAN, f64::INFINITY, f64::MAX] {
            for scale in [Scale::Linear, Scale::Log] {
                let axis = Axis { label: String::new(), scale };
                let placed = Placed::new(&axis, [value, value].into_iter());
                assert!(placed.ticks.len() >= 2, "{value:e}: {placed:?}");
                let at = placed.place(value);
                assert!(at.is_none_or(|at| (at - 0.5).abs() < 1e-6), "{value:e}: {at:?}");
            }
        }
    }

    #[test]
    fn categories_keep_their_order_and_distance() {
        let names = || Scale::Categories(vec!["a".into(), "b".into()]);
        assert_eq!(labels(names(), &[]), ["a", "b"]);
        let axis = Axis { label: String::new(), scale: names() };
        let placed = Placed::new(&axis, std::iter::empty());
        assert_eq!((placed.place(0.0), placed.place(1.0)), (Some(0.25), Some(0.75)));
        assert_eq!((placed.place(-1.0), placed.place(1e9)), (None, None));
    }
}
