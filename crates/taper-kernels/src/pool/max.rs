//! Max pooling.

use super::{BLOCK, PoolAxis, Scratch, fold};
use crate::isa::dispatch;
use crate::lanes::larger;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// Max pooling of `planes` planes: y = the largest element of each window, NaN if it holds one, −∞ if none
/// of its elements is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// The number of planes.
    pub planes: usize,
    /// The windows down the columns.
    pub rows: PoolAxis,
    /// The windows along the rows.
    pub columns: PoolAxis,
}

/// That an output has no element of its window yet, or none at all.
const NONE: u32 = u32::MAX;

impl MaxPool {
    /// x (planes, rows.input, columns.input), y (planes, rows.output, columns.output).
    pub fn forward<T: Element>(self, x: &[T], y: &mut [T]) {
        let (size, out_size) = self.sizes();
        assert_eq!((x.len(), y.len()), (self.planes * size, self.planes * out_size));
        let some = work::rows(self.planes, size + out_size * (1 + self.columns.window));
        let tasks = self.planes.div_ceil(some);
        threads::each(tasks, Chunks::new(y, some * out_size), |task, y| {
            let x = &x[task * some * size..];
            dispatch!(_I => {
                let mut scratch = Scratch::new(self.columns, T::NEG_INFINITY);
                for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(out_size)) {
                    let most = (T::NEG_INFINITY, larger);
                    fold([self.rows, self.columns], x, y, &mut scratch, most, |_, _| {});
                }
            });
        });
    }

    /// The gradient of x from that of y: each goes to the first element of its window that is the largest, or
    /// to the last that is NaN.
    ///
    /// That element is searched for again: it costs a pass over x, and keeping it would cost memory from the
    /// forward pass on.
    pub fn backward<T: Element>(
        self,
        x: &[T],
        y: &[T],
        upstream: &[T],
        gradient: &mut [T],
        update: Update,
    ) {
        let (size, out_size) = self.sizes();
        assert_eq!((x.len(), gradient.len()), (self.planes * size, self.planes * size));
        assert_eq!((y.len(), upstream.len()), (self.planes * out_size, self.planes * out_size));
        assert!(self.rows.window.saturating_mul(self.columns.window) < NONE as usize);
        let taps = self.rows.window * self.columns.window;
        let some = work::rows(self.planes, 2 * size + out_size * taps);
        let tasks = self.planes.div_ceil(some);
        threads::each(tasks, Chunks::new(gradient, some * size), |task, gradient| {
            let x = &x[task * some * size..];
            let y = &y[task * some * out_size..];
            let upstream = &upstream[task * some * out_size..];
            dispatch!(_I => {
                let mut plane = Plane::new(self);
                let outputs = y.chunks_exact(out_size).zip(upstream.chunks_exact(out_size));
                let inputs = x.chunks_exact(size).zip(gradient.chunks_exact_mut(size));
                for ((x, gradient), (y, upstream)) in inputs.zip(outputs) {
                    plane.search(x, y, upstream);
                    plane.gather(gradient, update);
                }
            });
        });
    }

    fn sizes(self) -> (usize, usize) {
        (self.rows.input * self.columns.input, self.rows.output * self.columns.output)
    }
}

/// The way back through one plane.
struct Plane<T> {
    pool: MaxPool,
    offsets: Vec<usize>,
    by_phase: Vec<Vec<(usize, usize)>>,
    /// Elements of a row of `places` and `upstream`: those of a phase, with room on the left for a window.
    width: usize,
    /// The rows of x in phases, NaN around them, which equals nothing.
    phases: Vec<T>,
    /// For each output which place of its window has the largest element, `NONE` around them.
    places: Vec<u32>,
    /// The gradient of each output, with the same room around.
    upstream: Vec<T>,
    /// A row of the gradient of x in phases.
    row: Vec<T>,
}

impl<T: Element> Plane<T> {
    fn new(pool: MaxPool) -> Self {
        let MaxPool { rows, columns, .. } = pool;
        let phase_width = columns.phase_width();
        let row = columns.stride * phase_width;
        let width = columns.reach() + phase_width;
        Self {
            pool,
            offsets: columns.offsets(),
            by_phase: columns.taps_by_phase(),
            width,
            phases: vec![T::of(f64::NAN); rows.input * row],
            places: vec![NONE; rows.output * width],
            upstream: vec![T::ZERO; rows.output * width],
            row: vec![T::ZERO; row],
        }
    }

    /// Finds for each output the place of its largest element.
    #[inline(always)]
    fn search(&mut self, x: &[T], y: &[T], upstream: &[T]) {
        let MaxPool { rows, columns, .. } = self.pool;
        let (row, left) = (self.row.len(), columns.reach());
        for (x, phases) in x.chunks_exact(columns.input).zip(self.phases.chunks_exact_mut(row)) {
            columns.split(x, phases);
        }
        for (output, (y, upstream)) in
            y.chunks_exact(columns.output).zip(upstream.chunks_exact(columns.output)).enumerate()
        {
            let start = output * self.width + left;
            self.upstream[start..][..columns.output].copy_from_slice(upstream);
            for (block, y) in y.chunks(BLOCK).enumerate() {
                let mut wanted = [T::ZERO; BLOCK];
                wanted[..y.len()].copy_from_slice(y);
                let mut found = [NONE; BLOCK];
                // From behind, so that the first of equal elements stays.
                for tap in rows.taps(output).rev() {
                    let phases = &self.phases[rows.position(output, tap) * row..][..row];
                    for (column, offset) in self.offsets.iter().enumerate().rev() {
                        let x = &phases[offset + block * BLOCK..][..BLOCK];
                        let place = (tap * columns.window + column) as u32;
                        for lane in 0..BLOCK {
                            found[lane] = if x[lane] == wanted[lane] { place } else { found[lane] };
                        }
                    }
                }
                if found[..y.len()].contains(&NONE) {
                    self.search_nan(x, output, block * BLOCK, &mut found[..y.len()]);
                }
                self.places[start + block * BLOCK..][..y.len()].copy_from_slice(&found[..y.len()]);
            }
        }
    }

    /// For outputs of which nothing is equal to the largest element: the last NaN, if the window has one.
    #[inline(never)]
    fn search_nan(&self, x: &[T], row: usize, first: usize, found: &mut [u32]) {
        let MaxPool { rows, columns, .. } = self.pool;
        for (lane, found) in found.iter_mut().enumerate().filter(|(_, found)| **found == NONE) {
            for tap in rows.taps(row) {
                let x = &x[rows.position(row, tap) * columns.input..][..columns.input];
                for column in columns.taps(first + lane) {
                    let x = x[columns.position(first + lane, column)];
                    if x.partial_cmp(&x).is_none() {
                        *found = (tap * columns.window + column) as u32;
                    }
                }
            }
        }
    }

    /// Collects for each input what the outputs whose largest element it is have for it.
    #[inline(always)]
    fn gather(&mut self, gradient: &mut [T], update: Update) {
        let MaxPool { rows, columns, .. } = self.pool;
        let (phase_width, left) = (columns.phase_width(), columns.reach());
        for (input, gradient) in gradient.chunks_exact_mut(columns.input).enumerate() {
            for (phase, taps) in self.row.chunks_exact_mut(phase_width).zip(&self.by_phase) {
                for (block, sums) in phase.chunks_exact_mut(BLOCK).enumerate() {
                    let mut all = [T::ZERO; BLOCK];
                    for (output, tap) in rows.readers(input) {
                        for (column, inside) in taps {
                            let start = output * self.width + left + block * BLOCK - inside;
                            let places = &self.places[start..][..BLOCK];
                            let upstream = &self.upstream[start..][..BLOCK];
                            let place = (tap * columns.window + column) as u32;
                            for lane in 0..BLOCK {
                                let here = places[lane] == place;
                                all[lane] += if here { upstream[lane] } else { T::ZERO };
                            }
                        }
                    }
                    sums.copy_from_slice(&all);
                }
            }
            columns.merge(&mut self.row, gradient, update);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const LOW: f64 = f64::NEG_INFINITY;

    fn pool(rows: PoolAxis, columns: PoolAxis, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let pool = MaxPool { planes: 1, rows, columns };
        let mut y = vec![NAN; rows.output * columns.output];
        pool.forward(x, &mut y);
        let mut gradient = vec![NAN; x.len()];
        let upstream: Vec<f64> = (1..=y.len()).map(|at| at as f64).collect();
        pool.backward(x, &y, &upstream, &mut gradient, Update::Replace);
        (y, gradient)
    }

    #[test]
    fn hand_numbers() {
        let axis = PoolAxis::new(4, 3, 1, 0, 1, false).unwrap();
        let one = PoolAxis::new(1, 1, 1, 0, 1, false).unwrap();
        // Both windows have two fives; the first of them gets both gradients.
        assert_eq!(
            pool(one, axis, &[1.0, 5.0, 5.0, 2.0]),
            (vec![5.0, 5.0], vec![0.0, 3.0, 0.0, 0.0])
        );
        assert_eq!(
            pool(axis, one, &[1.0, 5.0, 5.0, 2.0]),
            (vec![5.0, 5.0], vec![0.0, 3.0, 0.0, 0.0])
        );
    }

    #[test]
    fn nan_and_infinity() {
        let axis = PoolAxis::new(4, 2, 2, 0, 1, false).unwrap();
        let one = PoolAxis::new(1, 1, 1, 0, 1, false).unwrap();
        let (y, gradient) = pool(one, axis, &[NAN, NAN, LOW, LOW]);
        assert!(y[0].is_nan() && y[1] == LOW);
        assert_eq!(gradient, [0.0, 1.0, 2.0, 0.0]);
        // Padding is −∞ as well, but no element.
        let padded = PoolAxis::new(1, 2, 1, 1, 1, false).unwrap();
        assert_eq!(pool(one, padded, &[LOW]), (vec![LOW, LOW], vec![3.0]));
        // Both places of the window are padding.
        let outside = PoolAxis::new(1, 2, 1, 1, 2, false).unwrap();
        assert_eq!(pool(one, outside, &[7.0]), (vec![LOW], vec![0.0]));
    }
}
