//! Weight normalization: each row of a matrix brought to a given length.

use super::Gradients;
use crate::isa::{Isa, dispatch};
use crate::lanes::sum_by;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// Elements of a row that are summed in T before the sum goes into f64.
const RUN: usize = 4096;
/// Below this a sum of squares in f32 may have lost digits, or all, to underflow.
const TINY: f64 = 1e-30;

/// The sizes of a weight normalization, w = g v / ‖v‖ for each row of v (rows, columns) with g (rows). A row of
/// zeros has no direction: w is 0 there and so are its gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightNorm {
    /// The rows, each with a length of its own.
    pub rows: usize,
    /// The elements of a row.
    pub columns: usize,
}

impl WeightNorm {
    /// Scales; returns the length of each row of `v`.
    pub fn forward<T: Element>(self, g: &[T], v: &[T], w: &mut [T]) -> Vec<f64> {
        let Self { rows, columns } = self;
        assert!(g.len() == rows && v.len() == rows * columns && w.len() == v.len(), "the sizes");
        let mut lengths = vec![0.0; rows];
        if w.is_empty() {
            return lengths;
        }
        let size = work::rows(rows, 2 * columns);
        let parts = (Chunks::new(&mut lengths, size), Chunks::new(w, size * columns));
        threads::each(rows.div_ceil(size), parts, |task, (lengths, w)| {
            let g = &g[task * size..][..lengths.len()];
            let v = &v[task * size * columns..][..w.len()];
            dispatch!(_I => scale_rows(columns, g, v, w, lengths));
        });
        lengths
    }

    /// The gradients of g (as `weight`) and v (as `x`) from `upstream`, that of w, and the lengths that forward found.
    pub fn backward<T: Element>(
        self,
        g: &[T],
        v: &[T],
        upstream: &[T],
        lengths: &[f64],
        gradients: Gradients<'_, T>,
    ) {
        let Self { rows, columns } = self;
        assert!(g.len() == rows && lengths.len() == rows, "one value a row");
        assert!(v.len() == rows * columns && upstream.len() == v.len(), "the size of v");
        let size = work::rows(rows, 3 * columns);
        let tasks = if v.is_empty() { 0 } else { rows.div_ceil(size) };
        let (of_v, update) = match gradients.x {
            Some((of_v, update)) => (Some(Chunks::new(of_v, size * columns)), update),
            None => (None, Update::Replace),
        };
        let mut inner = vec![0.0; rows];
        let parts = (of_v, Chunks::new(&mut inner, size));
        threads::each(tasks, parts, |task, (mut of_v, inner)| {
            let first = task * size;
            for (at, inner) in inner.iter_mut().enumerate() {
                let range = (first + at) * columns..(first + at + 1) * columns;
                let of_v = of_v.as_deref_mut().map(|it| &mut it[at * columns..][..columns]);
                let length = lengths[first + at];
                let row = Row { v: &v[range.clone()], upstream: &upstream[range], length };
                let factor = quotient(g[first + at].to_f64(), length);
                *inner = dispatch!(I => row.pull::<I>(T::of(factor), of_v, update));
            }
        });
        if let Some((of_g, update)) = gradients.weight {
            for (to, inner) in of_g.iter_mut().zip(inner) {
                let inner = T::of(inner);
                *to = if update == Update::Add { *to + inner } else { inner };
            }
        }
    }
}

#[inline(always)]
fn scale_rows<T: Element>(columns: usize, g: &[T], v: &[T], w: &mut [T], lengths: &mut [f64]) {
    let rows = v.chunks_exact(columns).zip(w.chunks_exact_mut(columns));
    for ((v, w), (g, length)) in rows.zip(g.iter().zip(lengths)) {
        *length = length_of(v);
        let factor = T::of(quotient(g.to_f64(), *length));
        for (w, v) in w.iter_mut().zip(v) {
            *w = *v * factor;
        }
    }
}

/// A row in the backward pass.
struct Row<'a, T> {
    v: &'a [T],
    upstream: &'a [T],
    length: f64,
}

impl<T: Element> Row<'_, T> {
    /// The part of the upstream gradient along the row's direction, which is the gradient of its length. The rest of it,
    /// scaled, is the gradient of v.
    #[inline(always)]
    fn pull<I: Isa>(&self, factor: T, of_v: Option<&mut [T]>, update: Update) -> f64 {
        let Self { v, upstream, length } = *self;
        let mut inner = 0.0;
        for (v, u) in v.chunks(RUN).zip(upstream.chunks(RUN)) {
            inner += sum_by(v.len(), |at| u[at] * v[at]).to_f64();
        }
        let along = quotient(inner, length);
        let Some(of_v) = of_v else {
            return along;
        };
        // The row is brought to length 1 first: a slope for v itself would overflow where v is tiny.
        let (inverse, slope) = (T::of(quotient(1.0, length)), T::of(-along));
        for ((to, v), u) in of_v.iter_mut().zip(v).zip(upstream) {
            let gradient = (*v * inverse).fma::<I>(slope, *u) * factor;
            *to = if update == Update::Add { *to + gradient } else { gradient };
        }
        along
    }
}

/// ‖x‖.
#[inline(always)]
fn length_of<T: Element>(x: &[T]) -> f64 {
    let mut squares = 0.0;
    for run in x.chunks(RUN) {
        squares += sum_by(run.len(), |at| run[at] * run[at]).to_f64();
    }
    if squares.is_finite() && squares > TINY {
        return squares.sqrt();
    }
    wide_length_of(x)
}

/// In f64, for what overflows or underflows.
#[cold]
#[inline(never)]
fn wide_length_of<T: Element>(x: &[T]) -> f64 {
    x.iter().map(|x| x.to_f64().powi(2)).sum::<f64>().sqrt()
}

/// x / length; 0 where there is no length.
#[inline(always)]
fn quotient(x: f64, length: f64) -> f64 {
    if length == 0.0 { 0.0 } else { x / length }
}
