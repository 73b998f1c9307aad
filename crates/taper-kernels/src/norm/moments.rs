//! Mean and variance of values that come in parts.

use crate::Element;
use crate::isa::Isa;
use crate::lanes::{LANES, sum_by, total};

/// The mean of `count` values and the sum of their squared distances from it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    pub(super) count: f64,
    pub(super) mean: f64,
    pub(super) squares: f64,
}

impl Moments {
    /// From the sums of the distances from `center` and of their squares: any center gives the same, and one
    /// near the mean leaves it all its digits.
    #[inline(always)]
    pub(super) fn about(count: usize, center: f64, sum: f64, squares: f64) -> Self {
        let count = count as f64;
        let shift = sum / count;
        let squares = squares - sum * shift;
        // Rounding can make it negative; NaN stays.
        let squares = if squares < 0.0 { 0.0 } else { squares };
        Self { count, mean: center + shift, squares }
    }

    /// Of all values of `segments` together, each pass over them in a fixed order.
    #[inline(always)]
    pub(super) fn of<'a, I: Isa, T: Element>(
        segments: impl Iterator<Item = &'a [T]> + Clone,
        count: usize,
    ) -> Self {
        let mut sums = [T::ZERO; LANES];
        for x in segments.clone() {
            add(x, &mut sums);
        }
        let center = total(sums) / T::of(count as f64);
        let mut sums = [[T::ZERO; LANES]; 2];
        for x in segments.clone() {
            add_terms(x, x, x, &mut sums, |x, _, _| {
                let distance = x - center;
                [distance, distance * distance]
            });
        }
        let (sum, squares) = (total(sums[0]).to_f64(), total(sums[1]).to_f64());
        if squares.is_finite() {
            return Self::about(count, center.to_f64(), sum, squares);
        }
        Self::wide(segments.flatten().map(|x| x.to_f64()), count)
    }

    /// A mean of 0 and the sum of the squares.
    #[inline(always)]
    pub(super) fn about_zero<I: Isa, T: Element>(x: &[T]) -> Self {
        let mut squares = sum_by(x.len(), |at| x[at] * x[at]).to_f64();
        if !squares.is_finite() {
            squares = x.iter().map(|x| x.to_f64().powi(2)).sum();
        }
        Self { count: x.len() as f64, mean: 0.0, squares }
    }

    /// In f64 throughout, for what overflows: 1e25 has no square in f32.
    #[cold]
    #[inline(never)]
    pub(super) fn wide(values: impl Iterator<Item = f64> + Clone, count: usize) -> Self {
        let mean = values.clone().sum::<f64>() / count as f64;
        let squares = values.map(|x| (x - mean) * (x - mean)).sum();
        Self { count: count as f64, mean, squares }
    }

    /// Takes up the moments of other values.
    #[inline(always)]
    pub(super) fn merge(&mut self, other: Self) {
        if self.count == 0.0 {
            *self = other;
            return;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.mean += distance * (other.count / count);
        self.squares += other.squares + distance * distance * (self.count * other.count / count);
        self.count = count;
    }
}

/// Adds the elements to lanes.
#[inline(always)]
fn add<T: Element>(x: &[T], sums: &mut [T; LANES]) {
    let (blocks, rest) = x.as_chunks::<LANES>();
    // In a variable that is never indexed by the rest: else the lanes stay in memory.
    let mut lanes = *sums;
    for block in blocks {
        for at in 0..LANES {
            lanes[at] += block[at];
        }
    }
    *sums = lanes;
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += *x;
    }
}

/// Adds two terms of each place of three slices of one length to lanes.
#[inline(always)]
pub(super) fn add_terms<T: Element>(
    x: &[T],
    g: &[T],
    y: &[T],
    sums: &mut [[T; LANES]; 2],
    term: impl Fn(T, T, T) -> [T; 2],
) {
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (g, g_rest) = g.as_chunks::<LANES>();
    let (y, y_rest) = y.as_chunks::<LANES>();
    *sums = add_blocks(x, g, y, *sums, &term);
    let [first, second] = sums;
    for (at, ((x, g), y)) in x_rest.iter().zip(g_rest).zip(y_rest).enumerate() {
        let [a, b] = term(*x, *g, *y);
        first[at] += a;
        second[at] += b;
    }
}

/// The whole blocks of [`add_terms`], apart from the rest for the reason of [`add`].
#[inline(always)]
fn add_blocks<T: Element>(
    x: &[[T; LANES]],
    g: &[[T; LANES]],
    y: &[[T; LANES]],
    [mut first, mut second]: [[T; LANES]; 2],
    term: impl Fn(T, T, T) -> [T; 2],
) -> [[T; LANES]; 2] {
    for ((x, g), y) in x.iter().zip(g).zip(y) {
        for at in 0..LANES {
            let [a, b] = term(x[at], g[at], y[at]);
            first[at] += a;
            second[at] += b;
        }
    }
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::dispatch;

    fn of<T: Element>(x: &[T]) -> Moments {
        dispatch!(I => Moments::of::<I, T>([x].into_iter(), x.len()))
    }

    #[test]
    fn hand_numbers_and_parts() {
        let mut moments = of(&[1.0, 3.0]);
        assert_eq!((moments.count, moments.mean, moments.squares), (2.0, 2.0, 2.0));
        moments.merge(of(&[5.0, 7.0, 9.0]));
        // 1, 3, 5, 7, 9.
        assert_eq!(moments.count, 5.0);
        assert!((moments.mean - 5.0).abs() < 1e-15 && (moments.squares - 40.0).abs() < 1e-13);
        let mut nothing = Moments::default();
        nothing.merge(moments);
        assert_eq!(nothing.mean, moments.mean);
    }

    #[test]
    fn a_far_mean_leaves_the_variance() {
        // f32 holds 1e4 + 0.01 as 1e4 + 0.009765625.
        for length in [2, 100, 4096] {
            let x: Vec<f32> = (0..length).map(|at| 1e4 + 0.01 * (at % 2) as f32).collect();
            let moments = of(&x);
            let expected = (0.009_765_625f64 / 2.0).powi(2);
            assert!((moments.squares / length as f64 / expected - 1.0).abs() < 1e-6);
            assert!((moments.mean - 10_000.0 - 0.009_765_625 / 2.0).abs() < 1e-8);
        }
    }

    #[test]
    fn extremes_and_what_is_no_number() {
        let moments = of(&[1e25f32, -1e25]);
        assert!((moments.squares / 2e50 - 1.0).abs() < 1e-6 && moments.mean == 0.0);
        assert!(of(&[3e38f32; 100]).mean > 2.9e38);
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(of(&[1.0, bad]).squares.is_nan());
        }
        let constant = of(&[0.1f32; 1000]);
        assert!(constant.squares < 1e-12 && (constant.mean - 0.1).abs() < 1e-8);
    }
}
