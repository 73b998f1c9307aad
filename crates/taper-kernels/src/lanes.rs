//! Sums and maxima of a fixed shape.
//!
//! A sum of floating-point numbers depends on its order. Here element i always goes to lane i mod 32, and the
//! lanes are added in halves: the same bits for every instruction set with the same arithmetic, while the
//! compiler is free to hold the lanes in registers of any width.

use crate::Element;

/// Lanes of a running reduction: enough to keep four 256-bit or two 512-bit additions in flight.
pub(crate) const LANES: usize = 32;

/// Lanes of a step in what is left of a row after its blocks of [`LANES`].
pub(crate) const NARROW: usize = 8;

/// Adds the lanes in halves.
#[inline(always)]
pub(crate) fn total<T: Element>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for at in 0..width {
            lanes[at] += lanes[at + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ term(i) over `0..length`, where the caller reads slices of that length.
///
/// `term` is called for whole blocks of lanes first and for the rest one by one.
#[inline(always)]
pub(crate) fn sum_by<T: Element>(length: usize, term: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let blocks = length / LANES * LANES;
    let mut start = 0;
    while start < blocks {
        for (at, lane) in lanes.iter_mut().enumerate() {
            *lane += term(start + at);
        }
        start += LANES;
    }
    for at in blocks..length {
        lanes[at - blocks] += term(at);
    }
    total(lanes)
}

/// Σ x.
#[inline(always)]
pub(crate) fn sum<T: Element>(x: &[T]) -> T {
    let mut lanes = [T::ZERO; LANES];
    let blocks = x.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for at in 0..LANES {
            lanes[at] += block[at];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += *x;
    }
    total(lanes)
}

/// The largest element that is not NaN; −∞ of nothing.
#[inline(always)]
pub(crate) fn max_number<T: Element>(x: &[T]) -> T {
    let mut lanes = [T::NEG_INFINITY; LANES];
    for block in x.chunks_exact(LANES) {
        for at in 0..LANES {
            lanes[at] = larger_number(lanes[at], block[at]);
        }
    }
    let mut start = x.len() / LANES * LANES;
    if x.len() < NARROW {
        for at in start..x.len() {
            lanes[at] = larger_number(lanes[at], x[at]);
        }
        start = x.len();
    }
    while start < x.len() {
        // The last step may go again over some that are done.
        let block = &x[start.min(x.len() - NARROW)..][..NARROW];
        for at in 0..NARROW {
            lanes[at] = larger_number(lanes[at], block[at]);
        }
        start += NARROW;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for at in 0..width {
            lanes[at] = larger_number(lanes[at], lanes[at + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The larger of two, `a` where `b` is NaN: one instruction, where to keep NaN takes four.
#[inline(always)]
fn larger_number<T: Element>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The larger of two, NaN if one is.
#[inline(always)]
#[allow(clippy::eq_op)] // Only NaN is not equal to itself.
pub(crate) fn larger<T: Element>(a: T, b: T) -> T {
    // Two choices rather than one of two conditions, which would be branches.
    let more = if a > b { a } else { b };
    if a != a { a } else { more }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_every_length() {
        for length in 0..200 {
            let x: Vec<f64> = (1..=length).map(|at| at as f64).collect();
            let expected = (length * (length + 1) / 2) as f64;
            assert_eq!(sum(&x), expected);
            assert_eq!(sum_by(x.len(), |at| x[at]), expected);
        }
    }

    #[test]
    fn maxima_of_every_length_and_place() {
        assert_eq!(max_number::<f32>(&[]), f32::NEG_INFINITY);
        for length in 1..100 {
            for place in 0..length {
                let mut x = vec![-1.0f32; length];
                x[place] = 2.0;
                assert_eq!(max_number(&x), 2.0);
                x[place] = f32::NAN;
                assert_eq!(max_number(&x), if length == 1 { f32::NEG_INFINITY } else { -1.0 });
            }
        }
    }
}
