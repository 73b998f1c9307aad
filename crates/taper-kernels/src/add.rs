//! The sum of two tensors, as at the end of a residual block.

use crate::activation::{apply, pull_from_output};
use crate::isa::dispatch;
use crate::linear::Gradient;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Activation, Element, work};

/// y = f(a + b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Add {
    /// f; [invertible](Activation::invertible) for the way back.
    pub activation: Activation,
}

impl Add {
    /// a, b and y are of the same length.
    pub fn forward<T: Element>(self, a: &[T], b: &[T], y: &mut [T]) {
        assert!(a.len() == y.len() && b.len() == y.len(), "a, b and y are of one length");
        let size = work::block(y.len());
        threads::each(y.len().div_ceil(size), Chunks::new(y, size), |block, y| {
            let a = &a[block * size..][..y.len()];
            let b = &b[block * size..][..y.len()];
            dispatch!(I => {
                for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                    *y = *a + *b;
                }
                apply::<I, T>(self.activation, y);
            });
        });
    }

    /// The gradients of a and b, which are the same, from that of y.
    pub fn backward<T: Element>(
        self,
        y: &[T],
        upstream: &[T],
        of_a: Gradient<'_, T>,
        of_b: Gradient<'_, T>,
    ) {
        debug_assert!(self.activation.invertible());
        assert_eq!(y.len(), upstream.len(), "y and its gradient are of one length");
        let size = work::block(y.len());
        let ([of_a, of_b], updates) = parts([of_a, of_b], y.len(), size);
        threads::each(y.len().div_ceil(size), (of_a, of_b), |block, (of_a, of_b)| {
            for (gradient, update) in [of_a, of_b].into_iter().zip(updates) {
                let Some(gradient) = gradient else {
                    continue;
                };
                // For the second gradient the block is still in the cache.
                let y = &y[block * size..][..gradient.len()];
                let upstream = &upstream[block * size..][..gradient.len()];
                dispatch!(I => match update {
                    Update::Replace => {
                        pull_from_output::<I, T>(self.activation, y, upstream, gradient);
                    }
                    Update::Add => {
                        let mut addend = vec![T::ZERO; gradient.len()];
                        pull_from_output::<I, T>(self.activation, y, upstream, &mut addend);
                        gradient.iter_mut().zip(&addend).for_each(|(sum, addend)| *sum += *addend);
                    }
                });
            }
        });
    }
}

/// The gradients in chunks, and what becomes of what is there.
fn parts<'a, T>(
    gradients: [Gradient<'a, T>; 2],
    length: usize,
    size: usize,
) -> ([Option<Chunks<'a, T>>; 2], [Update; 2]) {
    let mut updates = [Update::Replace; 2];
    let mut at = 0;
    let chunks = gradients.map(|gradient| {
        let chunks = gradient.map(|(gradient, update)| {
            assert_eq!(gradient.len(), length, "a gradient is as long as its argument");
            updates[at] = update;
            Chunks::new(gradient, size)
        });
        at += 1;
        chunks
    });
    (chunks, updates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers() {
        let add = Add { activation: Activation::Relu };
        let mut y = [f64::NAN; 3];
        add.forward(&[1.0, -2.0, 3.0], &[0.5, 1.0, -3.0], &mut y);
        assert_eq!(y, [1.5, 0.0, 0.0]);
        let (mut of_a, mut of_b) = ([f64::NAN; 3], [10.0; 3]);
        let (to_a, to_b) = ((&mut of_a[..], Update::Replace), (&mut of_b[..], Update::Add));
        add.backward(&y, &[2.0, 3.0, 4.0], Some(to_a), Some(to_b));
        assert_eq!((of_a, of_b), ([2.0, 0.0, 0.0], [12.0, 10.0, 10.0]));
        let mut of_b = [f64::NAN; 3];
        add.backward(&y, &[2.0, 3.0, 4.0], None, Some((&mut of_b, Update::Replace)));
        assert_eq!(of_b, [2.0, 0.0, 0.0]);
    }

    #[test]
    fn any_number_of_threads_adds_the_same() {
        let numbers = |seed: usize| -> Vec<f32> {
            (0..100_003).map(|at| ((at * 7919 + seed) % 1000) as f32 / 500.0 - 1.0).collect()
        };
        let (a, b, g) = (numbers(1), numbers(2), numbers(3));
        for activation in [Activation::Identity, Activation::Relu, Activation::Tanh] {
            let run = |threads| {
                threads::limit(threads, || {
                    let (mut y, mut of_a, mut of_b) = (a.clone(), a.clone(), b.clone());
                    let add = Add { activation };
                    add.forward(&a, &b, &mut y);
                    let of = (&mut of_a[..], Update::Add);
                    add.backward(&y, &g, Some(of), Some((&mut of_b, Update::Replace)));
                    (y, of_a, of_b)
                })
            };
            let alone = run(1);
            assert_eq!(alone, run(4));
            let sums = a.iter().zip(&alone.2).map(|(a, of_b)| a + of_b);
            assert!(alone.1.iter().copied().eq(sums));
        }
    }
}
