//! Sums over the rows of a matrix.

use crate::isa::dispatch;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// Columns that one task sums: a few cache lines of each row.
const STRIP: usize = 64;
/// Rows that are summed in T before the sum goes into f64.
const RUN: usize = 128;

/// `sums` = Σ of the rows of `x`, each of `columns` elements; or `sums` += that.
pub(crate) fn add_sums<T: Element>(x: &[T], columns: usize, sums: &mut [T], update: Update) {
    if columns == 0 {
        return;
    }
    // A narrow matrix is one task: a second thread would cost more than it saves.
    let strip = if x.len() == work::block(x.len()) { columns } else { STRIP };
    threads::each(columns.div_ceil(strip), Chunks::new(sums, strip), |at, sums| {
        dispatch!(_I => strip_sums(x, columns, at * strip, sums, update));
    });
}

#[inline(always)]
fn strip_sums<T: Element>(x: &[T], columns: usize, start: usize, sums: &mut [T], update: Update) {
    for (part, sums) in sums.chunks_mut(STRIP).enumerate() {
        let start = start + part * STRIP;
        let width = sums.len();
        let mut wide = [0.0f64; STRIP];
        for run in x.chunks(columns * RUN) {
            let mut narrow = [T::ZERO; STRIP];
            for row in run.chunks_exact(columns) {
                let row = &row[start..start + width];
                if let Ok(row) = <&[T; STRIP]>::try_from(row) {
                    for at in 0..STRIP {
                        narrow[at] += row[at];
                    }
                } else {
                    for at in 0..width {
                        narrow[at] += row[at];
                    }
                }
            }
            for at in 0..width {
                wide[at] += narrow[at].to_f64();
            }
        }
        for (sum, wide) in sums.iter_mut().zip(wide) {
            let wide = T::of(wide);
            *sum = if update == Update::Add { *sum + wide } else { wide };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_adds() {
        for (rows, columns) in [(0, 3), (1, 1), (300, 70), (1000, 130), (3, 64)] {
            let x: Vec<f64> = (0..rows * columns).map(|at| (at % 7) as f64).collect();
            let expected: Vec<f64> = (0..columns)
                .map(|column| (0..rows).map(|row| x[row * columns + column]).sum())
                .collect();
            let mut sums = vec![f64::NAN; columns];
            add_sums(&x, columns, &mut sums, Update::Replace);
            assert_eq!(sums, expected);
            add_sums(&x, columns, &mut sums, Update::Add);
            let doubled: Vec<f64> = expected.iter().map(|sum| 2.0 * sum).collect();
            assert_eq!(sums, doubled);
        }
    }
}
