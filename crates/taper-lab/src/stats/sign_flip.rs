//! The sign-flip test: a p-value that assumes symmetry and nothing else.

use serde::Serialize;
use taper_core::{Error, Result, Stream};

use super::{Alternative, TIE, check_finite};

/// Up to here all 2^n sign patterns are counted.
const MOST_EXACT: usize = 20;

/// How many random patterns are drawn beyond that.
const DRAWS: u64 = 100_000;

/// The outcome of a sign-flip test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SignFlip {
    /// The p-value.
    pub p: f64,
    /// The least p-value that this many values can reach: 2^(1-n) two-sided, 2^-n one-sided. Five
    /// pairs cannot go below 0.0625 two-sided, whatever they show.
    pub least: f64,
    /// How it was counted.
    pub method: FlipMethod,
}

/// How sign patterns were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlipMethod {
    /// All of them.
    Exact,
    /// Randomly drawn ones; the observed pattern counts as one more draw, so p is never 0.
    MonteCarlo {
        /// How many.
        draws: u64,
    },
}

/// Tests whether `values` are symmetric around `null`: the share of sign patterns whose sum is at
/// least as far out as the observed one.
///
/// Exact up to 20 values; `stream` is drawn from only beyond.
///
/// # Errors
///
/// There is no value, or one, or `null`, is not finite.
pub fn sign_flip(
    values: &[f64],
    null: f64,
    alternative: Alternative,
    stream: &mut Stream,
) -> Result<SignFlip> {
    if values.is_empty() {
        return Err(Error::argument("sign_flip", "values", "at least 1 value", 0));
    }
    check_finite("sign_flip", values)?;
    if !null.is_finite() {
        return Err(Error::argument("sign_flip", "null", "a finite number", null));
    }
    let shifted: Vec<f64> = values.iter().map(|value| value - null).collect();
    let far = Far::new(&shifted, alternative);
    let tails = if alternative == Alternative::TwoSided { 2.0 } else { 1.0 };
    let least = tails * 0.5_f64.powf(values.len() as f64);
    if values.len() <= MOST_EXACT {
        let patterns = 1u64 << values.len();
        let hits = (0..patterns).filter(|signs| far.reached(flipped(&shifted, *signs))).count();
        return Ok(SignFlip { p: hits as f64 / patterns as f64, least, method: FlipMethod::Exact });
    }
    let hits = (0..DRAWS).filter(|_| far.reached(randomly_flipped(&shifted, stream))).count();
    let one_draw = 1.0 / (DRAWS + 1) as f64;
    Ok(SignFlip {
        p: (hits + 1) as f64 * one_draw,
        least: least.max(one_draw),
        method: FlipMethod::MonteCarlo { draws: DRAWS },
    })
}

/// The sum with the sign of value i turned where bit i of `signs` is set.
fn flipped(values: &[f64], signs: u64) -> f64 {
    let signed = values.iter().enumerate();
    signed.map(|(bit, value)| if signs >> bit & 1 == 1 { -value } else { *value }).sum()
}

fn randomly_flipped(values: &[f64], stream: &mut Stream) -> f64 {
    values.chunks(64).map(|chunk| flipped(chunk, stream.next_u64())).sum()
}

/// Whether a sum is at least as far out as the observed one.
struct Far {
    observed: f64,
    tie: f64,
    alternative: Alternative,
}

impl Far {
    fn new(values: &[f64], alternative: Alternative) -> Self {
        let tie = TIE * values.iter().map(|value| value.abs()).sum::<f64>();
        Self { observed: values.iter().sum(), tie, alternative }
    }

    fn reached(&self, sum: f64) -> bool {
        match self.alternative {
            Alternative::TwoSided => sum.abs() >= self.observed.abs() - self.tie,
            Alternative::Greater => sum >= self.observed - self.tie,
            Alternative::Less => sum <= self.observed + self.tie,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(values: &[f64], alternative: Alternative) -> SignFlip {
        sign_flip(values, 0.0, alternative, &mut taper_core::stream(3, "flip")).unwrap()
    }

    #[test]
    fn hand_numbers() {
        // Sums of 1, 2, 3 with all signs: 6 4 2 0 0 -2 -4 -6. Observed 1 + 2 - 3 = 0, 6, 4.
        assert_eq!(test(&[1.0, 2.0, -3.0], Alternative::TwoSided).p, 1.0);
        assert_eq!(test(&[1.0, 2.0, 3.0], Alternative::TwoSided).p, 0.25);
        assert_eq!(test(&[-1.0, 2.0, 3.0], Alternative::TwoSided).p, 0.5);
        assert_eq!(test(&[-1.0, 2.0, 3.0], Alternative::Greater).p, 0.25);
        assert_eq!(test(&[-1.0, 2.0, 3.0], Alternative::Less).p, 0.875);
    }

    #[test]
    fn five_pairs_cannot_go_below_a_sixteenth() {
        let found = test(&[5.0, 6.0, 7.0, 8.0, 9.0], Alternative::TwoSided);
        assert_eq!(found, SignFlip { p: 0.0625, least: 0.0625, method: FlipMethod::Exact });
    }

    #[test]
    fn sums_that_differ_by_rounding_are_ties() {
        // Of the sums of 1, 2, -1 with all signs six are at least 2 in size. In tenths two of them
        // fall short of the observed 0.1 + 0.2 - 0.1 = 0.20000000000000004.
        assert_eq!(test(&[0.1, 0.2, -0.1], Alternative::TwoSided).p, 0.75);
        assert_eq!(test(&[0.0, 0.0], Alternative::TwoSided).p, 1.0);
    }

    #[test]
    fn beyond_twenty_it_says_that_it_drew() {
        let values: Vec<f64> = (0..21).map(|i| f64::from(i) + 0.5).collect();
        let found = test(&values, Alternative::TwoSided);
        assert_eq!(found.method, FlipMethod::MonteCarlo { draws: DRAWS });
        assert_eq!(found.least, 1.0 / 100_001.0);
        assert!(found.p <= 5.0 * found.least);
        let balanced: Vec<f64> = (0..80).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert_eq!(test(&balanced, Alternative::TwoSided).p, 1.0);
    }

    #[test]
    fn what_cannot_be_tested_is_named() {
        let stream = &mut taper_core::stream(3, "flip");
        let error = sign_flip(&[], 0.0, Alternative::Less, stream).unwrap_err().to_string();
        assert_eq!(error, "sign_flip: values should be at least 1 value, got 0");
        assert!(sign_flip(&[f64::INFINITY], 0.0, Alternative::Less, stream).is_err());
        assert!(sign_flip(&[1.0], f64::NAN, Alternative::Less, stream).is_err());
    }
}
