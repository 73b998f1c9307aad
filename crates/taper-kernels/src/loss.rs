//! Losses: the values and the gradient in one pass over memory.
//!
//! Every kernel returns Σ wᵢ lᵢ and writes what is [`Wanted`] beside it. The sum has a fixed shape: lanes of T
//! within a row or a run of elements, f64 across them, in order.

mod cross_entropy;
mod entropy;
mod pointwise;

pub use cross_entropy::{CrossEntropy, Labels, Target};
pub use entropy::negative_entropies;
pub use pointwise::{Pointwise, pointwise_by};

use crate::isa::dispatch;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// What a loss is to compute beside its sum.
#[derive(Debug)]
pub struct Wanted<'a, T> {
    /// wᵢ, each for the same number of losses in a row; a negative one leaves them out, so that not even a NaN
    /// comes through. `None` is 1 for all.
    pub weights: Option<&'a [f64]>,
    /// What the derivatives are multiplied by, such as one over the number of losses.
    pub scale: f64,
    /// wᵢ lᵢ.
    pub losses: Option<&'a mut [T]>,
    /// scale · wᵢ ∂lᵢ/∂x, of the length of x.
    pub gradient: Option<&'a mut [T]>,
}

/// `gradient` times `upstream`, each element of which is for the same number of elements in a row.
pub fn rescale<T: Element>(gradient: &mut [T], upstream: &[T]) {
    if upstream == [T::ONE] || gradient.is_empty() {
        return;
    }
    let each = gradient.len() / upstream.len();
    debug_assert_eq!(each * upstream.len(), gradient.len());
    let size = work::block(gradient.len());
    let tasks = gradient.len().div_ceil(size);
    threads::each(tasks, Chunks::new(gradient, size), |task, gradient| {
        dispatch!(_I => rescale_block(gradient, upstream, task * size, each));
    });
}

/// The part of [`rescale`] that starts at the element `start`.
#[inline(always)]
fn rescale_block<T: Element>(gradient: &mut [T], upstream: &[T], start: usize, each: usize) {
    if each == 1 {
        let upstream = &upstream[start..][..gradient.len()];
        gradient.iter_mut().zip(upstream).for_each(|(gradient, factor)| *gradient *= *factor);
        return;
    }
    let (mut row, mut done) = (start / each, 0);
    while done < gradient.len() {
        let end = ((row + 1) * each - start).min(gradient.len());
        let factor = upstream[row];
        gradient[done..end].iter_mut().for_each(|gradient| *gradient *= factor);
        (row, done) = (row + 1, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescales_by_row() {
        for (rows, each) in [(1, 1), (1, 100_000), (7, 30_000), (70_000, 3), (100_000, 1), (3, 0)] {
            let values: Vec<f64> = (0..rows * each).map(|at| at as f64).collect();
            let upstream: Vec<f64> = (0..rows).map(|row| row as f64 - 2.0).collect();
            let mut gradient = values.clone();
            rescale(&mut gradient, &upstream);
            for (at, (gradient, value)) in gradient.iter().zip(&values).enumerate() {
                assert_eq!(*gradient, value * upstream[at / each]);
            }
        }
        let mut gradient = [f32::NAN, 2.0];
        rescale(&mut gradient, &[1.0]);
        assert!(gradient[0].is_nan() && gradient[1] == 2.0);
    }
}
