//! Layer normalization: each row by itself.

use super::rows::{Row, Rows};
use super::{Gradients, Input};
use crate::Element;

/// The sizes of a layer normalization, y = w x̂ + b over x (rows, columns) with w and b (columns).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNorm {
    /// The samples, each with its own statistics.
    pub rows: usize,
    /// The features of a sample.
    pub columns: usize,
}

impl LayerNorm {
    fn rows(self) -> Rows {
        Rows { rows: self.rows, columns: self.columns, centred: true }
    }

    /// Normalises; returns what each row was normalised by.
    pub fn forward<T: Element>(self, input: Input<'_, T>, eps: f64, y: &mut [T]) -> Vec<Row<T>> {
        self.rows().forward(input, eps, y)
    }

    /// The gradients from `upstream`, that of the result, and what each row was normalised by.
    pub fn backward<T: Element>(
        self,
        x: &[T],
        weight: Option<&[T]>,
        upstream: &[T],
        found: &[Row<T>],
        gradients: Gradients<'_, T>,
    ) {
        self.rows().backward(x, weight, upstream, found, gradients);
    }
}
