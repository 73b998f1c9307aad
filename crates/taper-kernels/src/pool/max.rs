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

/// That an output has no largest element yet, or none at all.
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
        // Distances inside a window are u32.
        assert!(self.distance(self.rows.window - 1, self.columns.window - 1) < NONE as usize);
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
                    if update == Update::Replace {
                        gradient.fill(T::ZERO);
                    }
                    plane.add_back(x, y, upstream, gradient);
                }
            });
        });
    }

    /// How far in x a place of a window is from its first.
    fn distance(self, row: usize, column: usize) -> usize {
        row * self.rows.dilation * self.columns.input + column * self.columns.dilation
    }

    fn sizes(self) -> (usize, usize) {
        (self.rows.input * self.columns.input, self.rows.output * self.columns.output)
    }
}

/// The way back through one plane.
struct Plane<T> {
    pool: MaxPool,
    offsets: Vec<usize>,
    /// The rows of x in phases, NaN around them, which equals nothing.
    phases: Vec<T>,
}

impl<T: Element> Plane<T> {
    fn new(pool: MaxPool) -> Self {
        let row = pool.columns.stride * pool.columns.phase_width;
        Self {
            pool,
            offsets: pool.columns.offsets(),
            phases: vec![T::of(f64::NAN); pool.rows.input * row],
        }
    }

    /// gradient += what each output has for its largest element.
    #[inline(always)]
    fn add_back(&mut self, x: &[T], y: &[T], upstream: &[T], gradient: &mut [T]) {
        let MaxPool { rows, columns, .. } = self.pool;
        let row = columns.stride * columns.phase_width;
        for (x, phases) in x.chunks_exact(columns.input).zip(self.phases.chunks_exact_mut(row)) {
            columns.split(x, phases);
        }
        let outputs = y.chunks_exact(columns.output).zip(upstream.chunks_exact(columns.output));
        for (output, (y, upstream)) in outputs.enumerate() {
            let blocks = y.chunks(BLOCK).zip(upstream.chunks(BLOCK));
            for (block, (y, upstream)) in blocks.enumerate() {
                let first = block * BLOCK;
                let mut found = self.search(output, first, y);
                if found[..y.len()].contains(&NONE) {
                    self.search_nan(x, output, first, &mut found[..y.len()]);
                }
                // What the distances are from, as if the padding were there.
                let start = output * rows.stride * columns.input + first * columns.stride;
                let padding = rows.padding * columns.input + columns.padding;
                for (lane, (found, upstream)) in found.iter().zip(upstream).enumerate() {
                    if *found != NONE {
                        let at = start + lane * columns.stride + *found as usize - padding;
                        gradient[at] += *upstream;
                    }
                }
            }
        }
    }

    /// For a block of outputs of one row, how far their largest elements are from the starts of their windows.
    #[inline(always)]
    fn search(&self, output: usize, first: usize, y: &[T]) -> [u32; BLOCK] {
        let MaxPool { rows, columns, .. } = self.pool;
        let row = columns.stride * columns.phase_width;
        let mut wanted = [T::ZERO; BLOCK];
        wanted[..y.len()].copy_from_slice(y);
        let mut found = [NONE; BLOCK];
        // From behind, so that the first of equal elements stays.
        for tap in rows.taps(output).rev() {
            let phases = &self.phases[rows.position(output, tap) * row..][..row];
            for (column, offset) in self.offsets.iter().enumerate().rev() {
                let x = &phases[offset + first..][..BLOCK];
                let distance = self.pool.distance(tap, column) as u32;
                // From one array to another: it becomes a choice of lanes, not branches.
                let before = found;
                found = std::array::from_fn(|lane| {
                    if x[lane] == wanted[lane] { distance } else { before[lane] }
                });
            }
        }
        found
    }

    /// For outputs of which nothing is equal to the largest element: the last NaN, if the window has one.
    #[inline(never)]
    fn search_nan(&self, x: &[T], output: usize, first: usize, found: &mut [u32]) {
        let MaxPool { rows, columns, .. } = self.pool;
        for (lane, found) in found.iter_mut().enumerate().filter(|(_, found)| **found == NONE) {
            for tap in rows.taps(output) {
                let x = &x[rows.position(output, tap) * columns.input..][..columns.input];
                for column in columns.taps(first + lane) {
                    let x = x[columns.position(first + lane, column)];
                    if x.partial_cmp(&x).is_none() {
                        *found = self.pool.distance(tap, column) as u32;
                    }
                }
            }
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
