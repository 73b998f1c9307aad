//! Average pooling to a given size.

use std::ops::Range;

use crate::isa::dispatch;
use crate::lanes;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// Average pooling of `planes` planes from (rows, columns) of `input` to those of `output`: output o of an
/// axis is the mean of the inputs from ⌊o · input / output⌋ to before ⌈(o + 1) · input / output⌉.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptiveAveragePool {
    /// The number of planes.
    pub planes: usize,
    /// The rows and columns of x, none of them 0.
    pub input: (usize, usize),
    /// The rows and columns of y, none of them 0.
    pub output: (usize, usize),
}

/// Terms that are summed in T before the sum goes into f64.
const RUN: usize = 1024;

impl AdaptiveAveragePool {
    /// x (planes, input), y (planes, output).
    pub fn forward<T: Element>(self, x: &[T], y: &mut [T]) {
        let (size, out_size) = self.sizes();
        assert_eq!((x.len(), y.len()), (self.planes * size, self.planes * out_size));
        let pool = self.flat();
        let some = work::rows(self.planes, size);
        let tasks = self.planes.div_ceil(some);
        threads::each(tasks, Chunks::new(y, some * out_size), |task, y| {
            let x = &x[task * some * size..];
            dispatch!(_I => {
                let mut column = vec![T::ZERO; pool.input.1];
                for (x, y) in x.chunks_exact(size).zip(y.chunks_exact_mut(out_size)) {
                    pool.plane(x, y, &mut column);
                }
            });
        });
    }

    /// The gradient of x from that of y.
    pub fn backward<T: Element>(self, upstream: &[T], gradient: &mut [T], update: Update) {
        let (size, out_size) = self.sizes();
        let lengths = (self.planes * out_size, self.planes * size);
        assert_eq!((upstream.len(), gradient.len()), lengths);
        let pool = self.flat();
        let some = work::rows(self.planes, size);
        let tasks = self.planes.div_ceil(some);
        threads::each(tasks, Chunks::new(gradient, some * size), |task, gradient| {
            let upstream = &upstream[task * some * out_size..];
            if update == Update::Replace {
                gradient.fill(T::ZERO);
            }
            dispatch!(_I => {
                let mut column = vec![T::ZERO; pool.input.1];
                let planes = gradient.chunks_exact_mut(size).zip(upstream.chunks_exact(out_size));
                for (gradient, upstream) in planes {
                    pool.add_back(upstream, gradient, &mut column);
                }
            });
        });
    }

    fn sizes(self) -> (usize, usize) {
        (self.input.0 * self.input.1, self.output.0 * self.output.1)
    }

    /// A plane that becomes one number may as well be one row, which is longer.
    fn flat(self) -> Self {
        match self.output {
            (1, 1) => Self { input: (1, self.input.0 * self.input.1), ..self },
            _ => self,
        }
    }

    #[inline(always)]
    fn plane<T: Element>(self, x: &[T], y: &mut [T], column: &mut [T]) {
        let width = self.input.1;
        for (output, y) in y.chunks_exact_mut(self.output.1).enumerate() {
            let rows = window(output, self.input.0, self.output.0);
            let mut these = x[rows.start * width..rows.end * width].chunks_exact(width);
            let sums = match these.next() {
                Some(row) if rows.len() == 1 => row,
                first => {
                    column.copy_from_slice(first.unwrap_or_default());
                    for row in these {
                        column.iter_mut().zip(row).for_each(|(sum, x)| *sum += *x);
                    }
                    &*column
                }
            };
            for (output, y) in y.iter_mut().enumerate() {
                let columns = window(output, width, self.output.1);
                let count = T::of((rows.len() * columns.len()) as f64);
                *y = sum(&sums[columns]) / count;
            }
        }
    }

    #[inline(always)]
    fn add_back<T: Element>(self, upstream: &[T], gradient: &mut [T], column: &mut [T]) {
        let width = self.input.1;
        for (output, upstream) in upstream.chunks_exact(self.output.1).enumerate() {
            let rows = window(output, self.input.0, self.output.0);
            column.fill(T::ZERO);
            for (output, upstream) in upstream.iter().enumerate() {
                let columns = window(output, width, self.output.1);
                let share = *upstream / T::of((rows.len() * columns.len()) as f64);
                column[columns].iter_mut().for_each(|sum| *sum += share);
            }
            for row in gradient[rows.start * width..rows.end * width].chunks_exact_mut(width) {
                row.iter_mut().zip(&*column).for_each(|(sum, x)| *sum += *x);
            }
        }
    }
}

/// What `output` of `outputs` averages of `inputs`.
fn window(output: usize, inputs: usize, outputs: usize) -> Range<usize> {
    output * inputs / outputs..((output + 1) * inputs).div_ceil(outputs)
}

#[inline(always)]
fn sum<T: Element>(x: &[T]) -> T {
    if x.len() < lanes::LANES {
        return x.iter().fold(T::ZERO, |sum, x| sum + *x);
    }
    if x.len() <= RUN {
        return lanes::sum(x);
    }
    T::of(x.chunks(RUN).map(|run| lanes::sum(run).to_f64()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(input: (usize, usize), output: (usize, usize)) -> (Vec<f64>, Vec<f64>) {
        let pool = AdaptiveAveragePool { planes: 1, input, output };
        let x: Vec<f64> = (0..input.0 * input.1).map(|at| at as f64).collect();
        let mut y = vec![f64::NAN; output.0 * output.1];
        pool.forward(&x, &mut y);
        let mut gradient = vec![f64::NAN; x.len()];
        pool.backward(&vec![6.0; y.len()], &mut gradient, Update::Replace);
        pool.backward(&vec![6.0; y.len()], &mut gradient, Update::Add);
        (y, gradient)
    }

    #[test]
    fn hand_numbers() {
        assert_eq!(pool((2, 3), (1, 1)), (vec![2.5], vec![2.0; 6]));
        // The windows share the middle column.
        let (y, gradient) = pool((2, 3), (1, 2));
        assert_eq!(y, [2.0, 3.0]);
        assert_eq!(gradient, [3.0, 6.0, 3.0, 3.0, 6.0, 3.0]);
        // More outputs than inputs: each input is repeated.
        assert_eq!(pool((1, 2), (1, 4)), (vec![0.0, 0.0, 1.0, 1.0], vec![24.0, 24.0]));
    }

    #[test]
    fn a_large_mean_is_right_in_single_precision() {
        let pool = AdaptiveAveragePool { planes: 1, input: (2000, 2000), output: (1, 1) };
        let mut y = [f32::NAN];
        pool.forward(&vec![0.1f32; 4_000_000], &mut y);
        assert!((y[0] - 0.1).abs() < 5e-8, "{}", y[0]);
    }
}
