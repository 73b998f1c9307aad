use proptest::prelude::*;
use taper_kernels::{Element, Matrix, Update, matmul};

use crate::random::{assert_close, length, numbers, tolerance, wide};

/// a b by the definition, plus what was there.
fn product(a: &[f64], b: &[f64], (m, n, k): (usize, usize, usize), before: &[f64]) -> Vec<f64> {
    let element = |row: usize, column: usize| -> f64 {
        (0..k).map(|at| a[row * k + at] * b[at * n + column]).sum()
    };
    (0..m * n).map(|at| before[at] + element(at / n, at % n)).collect()
}

fn transposed<T: Copy>(matrix: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..rows * columns).map(|at| matrix[at % rows * columns + at / rows]).collect()
}

fn check<T: Element>((m, n, k): (usize, usize, usize), seed: u64) {
    let (a, b): (Vec<T>, Vec<T>) = (numbers(seed, m * k), numbers(seed + 1, k * n));
    let (a_columns, b_columns) = (transposed(&a, m, k), transposed(&b, k, n));
    for update in [Update::Replace, Update::Add] {
        let before: Vec<T> = numbers(seed + 2, m * n);
        let kept = if update == Update::Add { wide(&before) } else { vec![0.0; m * n] };
        let expected = product(&wide(&a), &wide(&b), (m, n, k), &kept);
        for (a, b) in [
            (Matrix::new(&a, m, k), Matrix::new(&b, k, n)),
            (Matrix::new(&a_columns, k, m).transposed(), Matrix::new(&b, k, n)),
            (Matrix::new(&a, m, k), Matrix::new(&b_columns, n, k).transposed()),
        ] {
            let mut out = before.clone();
            matmul(a, b, &mut out, update);
            assert_close(&out, &expected, tolerance::<T>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn is_the_sum_of_products(m in length(), n in length(), k in length(), seed in 0u64..1000) {
        check::<f32>((m, n, k), seed);
        check::<f64>((m, n, k), seed);
    }
}

#[test]
fn blocks_meet_without_seam() {
    // Enough work for many blocks along either side.
    check::<f32>((130, 600, 70), 1);
    check::<f32>((600, 130, 70), 2);
    check::<f64>((257, 255, 256), 3);
}

#[test]
fn nan_and_infinity_go_through() {
    let a = [f32::INFINITY, 1.0, f32::NAN, 0.0];
    let mut out = [0.0f32; 4];
    let identity = [1.0, 0.0, 0.0, 1.0];
    matmul(Matrix::new(&a, 2, 2), Matrix::new(&identity, 2, 2), &mut out, Update::Replace);
    assert!(out[0].is_infinite() || out[0].is_nan());
    assert!(out[1].is_nan() && out[2].is_nan());
}
