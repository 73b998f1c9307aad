//! Tensors one after the other along an axis.

use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// y (outer, Σ lengths) of tensors (outer, length).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concat {
    /// The product of the axes before the one that becomes longer.
    pub outer: usize,
    /// For each tensor the product of that axis and those behind it.
    pub lengths: Vec<usize>,
}

impl Concat {
    /// One copy for each tensor and outer index.
    pub fn forward<T: Element>(&self, tensors: &[&[T]], y: &mut [T]) {
        let total: usize = self.lengths.iter().sum();
        assert_eq!(tensors.len(), self.lengths.len(), "a length for each tensor");
        for (tensor, length) in tensors.iter().zip(&self.lengths) {
            assert_eq!(tensor.len(), self.outer * length, "the size of a tensor");
        }
        assert_eq!(y.len(), self.outer * total, "the size of y");
        if y.is_empty() {
            return;
        }
        let some = work::rows(self.outer, total);
        threads::each(self.outer.div_ceil(some), Chunks::new(y, some * total), |task, y| {
            for (at, mut y) in y.chunks_exact_mut(total).enumerate() {
                for (tensor, length) in tensors.iter().zip(&self.lengths) {
                    let (to, rest) = y.split_at_mut(*length);
                    to.copy_from_slice(&tensor[(task * some + at) * length..][..*length]);
                    y = rest;
                }
            }
        });
    }

    /// The gradient of the tensor `at` this place from that of y.
    pub fn backward<T: Element>(
        &self,
        upstream: &[T],
        at: usize,
        gradient: &mut [T],
        update: Update,
    ) {
        let total: usize = self.lengths.iter().sum();
        let (start, length) = (self.lengths[..at].iter().sum::<usize>(), self.lengths[at]);
        assert_eq!(upstream.len(), self.outer * total, "the size of y");
        assert_eq!(gradient.len(), self.outer * length, "the size of the tensor");
        if gradient.is_empty() {
            return;
        }
        let some = work::rows(self.outer, length);
        let tasks = self.outer.div_ceil(some);
        threads::each(tasks, Chunks::new(gradient, some * length), |task, gradient| {
            for (at, gradient) in gradient.chunks_exact_mut(length).enumerate() {
                let upstream = &upstream[(task * some + at) * total + start..][..length];
                match update {
                    Update::Replace => gradient.copy_from_slice(upstream),
                    Update::Add => gradient.iter_mut().zip(upstream).for_each(|(to, g)| *to += *g),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (outer, lengths) in
            [(1, vec![3]), (2, vec![3, 1, 2]), (70, vec![0, 1000, 600]), (0, vec![2]), (3, vec![0])]
        {
            let concat = Concat { outer, lengths };
            let tensors: Vec<Vec<f64>> = (0..concat.lengths.len())
                .map(|at| {
                    let size = outer * concat.lengths[at];
                    (0..size).map(|element| (element * 10 + at) as f64).collect()
                })
                .collect();
            let slices: Vec<&[f64]> = tensors.iter().map(Vec::as_slice).collect();
            let mut expected = Vec::new();
            for row in 0..outer {
                for (tensor, length) in tensors.iter().zip(&concat.lengths) {
                    expected.extend(&tensor[row * length..(row + 1) * length]);
                }
            }
            for threads in [1, 4] {
                threads::limit(threads, || {
                    let mut y = vec![f64::NAN; expected.len()];
                    concat.forward(&slices, &mut y);
                    assert_eq!(y, expected);
                    for (at, tensor) in tensors.iter().enumerate() {
                        let mut gradient = vec![f64::NAN; tensor.len()];
                        concat.backward(&y, at, &mut gradient, Update::Replace);
                        assert_eq!(&gradient, tensor);
                        concat.backward(&y, at, &mut gradient, Update::Add);
                        assert!(gradient.iter().zip(tensor).all(|(sum, x)| *sum == 2.0 * x));
                    }
                });
            }
        }
    }
}
