//! Products with a matrix as large as a weight, in orders that do not depend on the number of threads.

use taper_kernels::Element;
use taper_kernels::threads::{self, Chunks};

/// Elements of a task, at least.
pub(super) const TASK: usize = 1 << 15;
/// Sums side by side, so that a sum in order does not hold up the others.
const LANES: usize = 16;
/// Elements that are summed in T before the sum goes into f64.
const RUN: usize = 4096;
/// Columns whose sums stay in the cache.
const COLUMNS: usize = 512;

/// M x with a row of M for each element of the result.
pub(super) fn product<T: Element>(matrix: &[T], x: &[f64]) -> Vec<f64> {
    let x: Vec<T> = x.iter().map(|x| T::of(*x)).collect();
    let columns = x.len();
    let mut y = vec![0.0; matrix.len() / columns];
    let rows = TASK.div_ceil(columns);
    threads::each(y.len().div_ceil(rows), Chunks::new(&mut y, rows), |task, y| {
        for (y, row) in y.iter_mut().zip(matrix[task * rows * columns..].chunks(columns)) {
            *y = runs(row, &x);
        }
    });
    y
}

/// Mᵀ x with a row of M for each element of x.
pub(super) fn transposed_product<T: Element>(matrix: &[T], x: &[f64]) -> Vec<f64> {
    let columns = matrix.len() / x.len();
    let mut y = vec![0.0; columns];
    threads::each(columns.div_ceil(COLUMNS), Chunks::new(&mut y, COLUMNS), |task, y| {
        let mut sums = [T::ZERO; COLUMNS];
        let sums = &mut sums[..y.len()];
        for (row, x) in matrix.chunks(columns).zip(x) {
            let x = T::of(*x);
            for (sum, element) in sums.iter_mut().zip(&row[task * COLUMNS..]) {
                *sum += *element * x;
            }
        }
        for (y, sum) in y.iter_mut().zip(sums) {
            *y = sum.to_f64();
        }
    });
    y
}

/// The sum of the products, in an order that does not depend on the number of threads.
pub(super) fn inner<T: Element>(a: &[T], b: &[T]) -> f64 {
    let mut sums = vec![0.0; a.len().div_ceil(TASK)];
    threads::each(sums.len(), Chunks::new(&mut sums, 1), |task, sum| {
        let range = task * TASK..((task + 1) * TASK).min(a.len());
        sum[0] = runs(&a[range.clone()], &b[range]);
    });
    sums.iter().sum()
}

fn runs<T: Element>(a: &[T], b: &[T]) -> f64 {
    a.chunks(RUN).zip(b.chunks(RUN)).map(|(a, b)| run(a, b)).sum()
}

fn run<T: Element>(a: &[T], b: &[T]) -> f64 {
    let mut lanes = [T::ZERO; LANES];
    let (whole, rest) = (a.chunks_exact(LANES), a.len() / LANES * LANES);
    for (a, b) in whole.zip(b.chunks_exact(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += *a * *b;
        }
    }
    let rest = a[rest..].iter().zip(&b[rest..]).map(|(a, b)| *a * *b);
    rest.chain(lanes).map(|value| value.to_f64()).sum()
}
