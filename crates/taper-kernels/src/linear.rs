//! The fully connected layer: y = f(x wᵀ + b).

use crate::activation::{apply, pull_from_output};
use crate::columns::add_sums;
use crate::isa::dispatch;
use crate::matmul::{Matrix, Update, matmul, matmul_then};
use crate::threads::{self, Chunks};
use crate::{Activation, Element, work};

/// The sizes of a fully connected layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// The samples n.
    pub rows: usize,
    /// The features of x.
    pub inputs: usize,
    /// The features of y.
    pub outputs: usize,
}

/// Where a gradient goes, and what becomes of what is there.
pub type Gradient<'a, T> = Option<(&'a mut [T], Update)>;

impl Linear {
    /// y = f(x wᵀ + b): x (n, inputs), w (outputs, inputs), b (outputs), y (n, outputs).
    pub fn forward<T: Element>(
        self,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        activation: Activation,
        y: &mut [T],
    ) {
        let x = Matrix::new(x, self.rows, self.inputs);
        let weight = Matrix::new(weight, self.outputs, self.inputs).transposed();
        matmul_then(x, weight, y, Update::Replace, |_, column, y| {
            if let Some(bias) = bias {
                let bias = &bias[column..][..y.len()];
                dispatch!(_I => y.iter_mut().zip(bias).for_each(|(y, bias)| *y += *bias));
            }
            dispatch!(I => apply::<I, T>(activation, y));
        });
    }

    /// The gradients of x, w and b from that of y. The activation is told from `y`, so it is an
    /// [invertible](Activation::invertible) one.
    #[allow(clippy::too_many_arguments)] // Three operands, one result and the places of three gradients.
    pub fn backward<T: Element>(
        self,
        x: &[T],
        weight: &[T],
        y: &[T],
        upstream: &[T],
        activation: Activation,
        of_x: Gradient<'_, T>,
        of_weight: Gradient<'_, T>,
        of_bias: Gradient<'_, T>,
    ) {
        debug_assert!(activation.invertible());
        let mut before = Vec::new();
        let upstream = if activation == Activation::Identity {
            upstream
        } else {
            before.resize(upstream.len(), T::ZERO);
            let size = work::block(upstream.len());
            let tasks = upstream.len().div_ceil(size);
            threads::each(tasks, Chunks::new(&mut before, size), |block, gradient| {
                let y = &y[block * size..][..gradient.len()];
                let upstream = &upstream[block * size..][..gradient.len()];
                dispatch!(I => pull_from_output::<I, T>(activation, y, upstream, gradient));
            });
            &before
        };
        if let Some((gradient, update)) = of_bias {
            add_sums(upstream, self.outputs, gradient, update);
        }
        let of_y = Matrix::new(upstream, self.rows, self.outputs);
        if let Some((gradient, update)) = of_weight {
            let x = Matrix::new(x, self.rows, self.inputs);
            matmul(of_y.transposed(), x, gradient, update);
        }
        if let Some((gradient, update)) = of_x {
            matmul(of_y, Matrix::new(weight, self.outputs, self.inputs), gradient, update);
        }
    }
}
