//! Average pooling.

use super::{BLOCK, PoolAxis, Scratch, fold, join_rows};
use crate::isa::dispatch;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// Average pooling of `planes` planes: y = the sum of each window over its divisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AveragePool {
    /// The number of planes.
    pub planes: usize,
    /// The windows down the columns, whose dilation is 1.
    pub rows: PoolAxis,
    /// The windows along the rows, whose dilation is 1.
    pub columns: PoolAxis,
    /// Whether the divisor counts padding, too.
    pub count_padding: bool,
    /// The divisor of every window, in place of a count.
    pub divisor: Option<usize>,
}

impl AveragePool {
    /// x (planes, rows.input, columns.input), y (planes, rows.output, columns.output).
    pub fn forward<T: Element>(self, x: &[T], y: &mut [T]) {
        let (size, out_size) = self.sizes();
        assert_eq!((x.len(), y.len()), (self.planes * size, self.planes * out_size));
        let [of_rows, of_columns] = self.counts::<T>();
        let some = work::rows(self.planes, size + out_size * (1 + self.columns.window));
        let tasks = self.planes.div_ceil(some);
        threads::each(tasks, Chunks::new(y, some * out_size), |task, y| {
            let x = &x[task * some * size..];
            dispatch!(_I => {
                let mut scratch = Scratch::new(self.columns, T::ZERO);
                for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(out_size)) {
                    let sum = (T::ZERO, |sum, x| sum + x);
                    fold([self.rows, self.columns], x, y, &mut scratch, sum, |output, y| {
                        let of_row = of_rows[output];
                        y.iter_mut().zip(&of_columns).for_each(|(y, count)| *y = *y / (of_row * *count));
                    });
                }
            });
        });
    }

    /// The gradient of x from that of y.
    pub fn backward<T: Element>(self, upstream: &[T], gradient: &mut [T], update: Update) {
        let (size, out_size) = self.sizes();
        let lengths = (self.planes * out_size, self.planes * size);
        assert_eq!((upstream.len(), gradient.len()), lengths);
        let counts = self.counts::<T>();
        let some = work::rows(self.planes, 2 * size + out_size * (1 + self.columns.window));
        let tasks = self.planes.div_ceil(some);
        threads::each(tasks, Chunks::new(gradient, some * size), |task, gradient| {
            let upstream = &upstream[task * some * out_size..];
            dispatch!(_I => {
                let mut plane = Plane::new(self);
                let planes = gradient.chunks_exact_mut(size).zip(upstream.chunks_exact(out_size));
                for (gradient, upstream) in planes {
                    plane.spread(upstream, &counts);
                    plane.gather(gradient, update);
                }
            });
        });
    }

    fn sizes(self) -> (usize, usize) {
        (self.rows.input * self.columns.input, self.rows.output * self.columns.output)
    }

    /// The divisors: each is the product of a number of its row and one of its column.
    fn counts<T: Element>(self) -> [Vec<T>; 2] {
        let of_axis = |axis: PoolAxis| -> Vec<T> {
            let count = |output: usize| {
                let start = output * axis.stride;
                let with_padding = axis.window.min(axis.input + 2 * axis.padding - start);
                if self.count_padding { with_padding } else { axis.taps(output).len() }
            };
            (0..axis.output).map(|output| T::of(count(output) as f64)).collect()
        };
        match self.divisor {
            Some(divisor) => {
                [vec![T::of(divisor as f64); self.rows.output], vec![T::ONE; self.columns.output]]
            }
            None => [of_axis(self.rows), of_axis(self.columns)],
        }
    }
}

/// The way back through one plane: along the rows, then down the columns.
struct Plane<T> {
    pool: AveragePool,
    by_phase: Vec<Vec<usize>>,
    /// For each row of x the rows of y that read it.
    readers: Vec<Vec<usize>>,
    /// A row of y's gradient over its divisors, with room for a window on the left.
    shares: Vec<T>,
    /// A row of x in phases.
    row: Vec<T>,
    /// For each row of y what it has for each column of x.
    spread: Vec<T>,
}

impl<T: Element> Plane<T> {
    fn new(pool: AveragePool) -> Self {
        let width = pool.columns.phase_width;
        Self {
            pool,
            by_phase: pool.columns.taps_by_phase(),
            readers: pool.rows.readers(),
            shares: vec![T::ZERO; pool.columns.reach + width],
            row: vec![T::ZERO; pool.columns.stride * width],
            spread: vec![T::ZERO; pool.rows.output * pool.columns.input],
        }
    }

    #[inline(always)]
    fn spread(&mut self, upstream: &[T], [of_rows, of_columns]: &[Vec<T>; 2]) {
        let columns = self.pool.columns;
        let left = columns.reach;
        let rows = upstream.chunks_exact(columns.output).zip(of_rows);
        for ((upstream, of_row), spread) in rows.zip(self.spread.chunks_exact_mut(columns.input)) {
            let shares = self.shares[left..].iter_mut().zip(upstream).zip(of_columns);
            for ((share, upstream), count) in shares {
                *share = *upstream / (*of_row * *count);
            }
            let phases = self.row.chunks_exact_mut(columns.phase_width).zip(&self.by_phase);
            for (phase, taps) in phases {
                for (block, sums) in phase.chunks_exact_mut(BLOCK).enumerate() {
                    let mut all = [T::ZERO; BLOCK];
                    for inside in taps {
                        let shares = &self.shares[left + block * BLOCK - inside..][..BLOCK];
                        for lane in 0..BLOCK {
                            all[lane] += shares[lane];
                        }
                    }
                    sums.copy_from_slice(&all);
                }
            }
            columns.merge(&mut self.row, spread, Update::Replace);
        }
    }

    #[inline(always)]
    fn gather(&self, gradient: &mut [T], update: Update) {
        let width = self.pool.columns.input;
        for (gradient, readers) in gradient.chunks_exact_mut(width).zip(&self.readers) {
            let mut rows = readers.iter().map(|output| &self.spread[output * width..][..width]);
            if update == Update::Replace {
                match rows.next() {
                    Some(row) => gradient.copy_from_slice(row),
                    None => gradient.fill(T::ZERO),
                }
            }
            for row in rows {
                join_rows(gradient, row, |sum, x| sum + x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ceil: bool, count_padding: bool, divisor: Option<usize>) -> (Vec<f64>, Vec<f64>) {
        let rows = PoolAxis::new(1, 1, 1, 0, 1, false).unwrap();
        let columns = PoolAxis::new(4, 3, 2, 1, 1, ceil).unwrap();
        let pool = AveragePool { planes: 1, rows, columns, count_padding, divisor };
        let mut y = vec![f64::NAN; columns.output];
        pool.forward(&[3.0, 6.0, 9.0, 12.0], &mut y);
        let mut gradient = vec![f64::NAN; 4];
        pool.backward(&vec![6.0; y.len()], &mut gradient, Update::Replace);
        pool.backward(&vec![6.0; y.len()], &mut gradient, Update::Add);
        (y, gradient)
    }

    #[test]
    fn hand_numbers() {
        assert_eq!(pool(false, true, None), (vec![3.0, 9.0], vec![4.0, 8.0, 4.0, 4.0]));
        assert_eq!(pool(false, false, None), (vec![4.5, 9.0], vec![6.0, 10.0, 4.0, 4.0]));
        assert_eq!(pool(false, true, Some(1)), (vec![9.0, 27.0], vec![12.0, 24.0, 12.0, 12.0]));
        // The third window holds the last input and one place of padding.
        assert_eq!(pool(true, true, None), (vec![3.0, 9.0, 6.0], vec![4.0, 8.0, 4.0, 10.0]));
        assert_eq!(pool(true, false, None), (vec![4.5, 9.0, 12.0], vec![6.0, 10.0, 4.0, 16.0]));
    }
}
