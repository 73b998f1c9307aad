//! Orthonormal vectors of random ones.

/// Numbers that are added up side by side: the shape of a sum is the same on every machine.
const LANES: usize = 8;

/// Turns a (rows, columns) matrix of independent normal draws into `gain` times a matrix whose columns,
/// or rows if those are fewer, are orthonormal.
///
/// It is the Q of the QR decomposition of the matrix, or of its transpose if that is the taller one,
/// whose R has a positive diagonal: that one is distributed uniformly (Mezzadri 2007).
pub(super) fn orthogonalize(values: &mut [f64], rows: usize, columns: usize, gain: f64) {
    // The columns of a square matrix, as PyTorch has it.
    if rows < columns {
        orthonormalize(values, columns);
    } else {
        let mut vectors = transposed(values, columns);
        orthonormalize(&mut vectors, rows);
        values.copy_from_slice(&transposed(&vectors, rows));
    }
    for value in values {
        *value *= gain;
    }
}

/// Makes the vectors of `length` that `vectors` holds orthonormal, each by what is left of it beside
/// those before: modified Gram-Schmidt, whose R has the norms on its diagonal.
fn orthonormalize(vectors: &mut [f64], length: usize) {
    for start in (0..vectors.len()).step_by(length) {
        let (done, rest) = vectors.split_at_mut(start);
        let vector = &mut rest[..length];
        // What rounding leaves of the others is small after the first pass, and nothing after the
        // second (Giraud, Langou and Rozložník 2005).
        for _ in 0..2 {
            for other in done.chunks_exact(length) {
                let along = dot(vector, other);
                for (value, other) in vector.iter_mut().zip(other) {
                    *value -= along * other;
                }
            }
            let norm = dot(vector, vector).sqrt();
            // PyTorch leaves a zero vector, too, where the draws depend on each other.
            if norm > 0.0 {
                for value in vector.iter_mut() {
                    *value /= norm;
                }
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

/// The transpose of a matrix with this many columns.
fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| matrix[column..].iter().step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(values: &[f64], expected: &[f64]) {
        let near = values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15);
        assert!(near && values.len() == expected.len(), "{values:?} {expected:?}");
    }

    #[test]
    fn two_rows_by_hand() {
        // (3, 4, 0) has norm 5; beside it (1, -7, 2) leaves (4, -3, 2), for it lies -5 along it.
        let mut values = [3.0, 4.0, 0.0, 1.0, -7.0, 2.0];
        orthogonalize(&mut values, 2, 3, 5.0);
        let norm = 29f64.sqrt() / 5.0;
        close(&values, &[3.0, 4.0, 0.0, 4.0 / norm, -3.0 / norm, 2.0 / norm]);
        // The same as columns.
        let mut values = [3.0, 1.0, 4.0, -7.0, 0.0, 2.0];
        orthogonalize(&mut values, 3, 2, 5.0);
        close(&values, &[3.0, 4.0 / norm, 4.0, -3.0 / norm, 0.0, 2.0 / norm]);
    }

    #[test]
    fn one_number_keeps_its_sign() {
        for (draw, expected) in [(-0.3, -2.0), (1e-100, 2.0), (0.0, 0.0)] {
            let mut values = [draw];
            orthogonalize(&mut values, 1, 1, 2.0);
            assert_eq!(values, [expected]);
        }
    }

    #[test]
    fn nearly_dependent_rows_become_orthonormal() {
        let mut values: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11) - 5.0).collect();
        for i in 0..20 {
            values[20 + i] = 3.0 * values[i] + 1e-13 * f64::from(i as u32 * 5 % 7);
        }
        orthogonalize(&mut values, 2, 20, 1.0);
        let (a, b) = values.split_at(20);
        assert!(dot(a, b).abs() < 1e-15, "{}", dot(a, b));
        assert!((dot(b, b) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn not_a_number_goes_through() {
        let mut values = [1.0, f64::NAN, 2.0, 3.0];
        orthogonalize(&mut values, 2, 2, 1.0);
        assert!(values.iter().any(|value| value.is_nan()));
    }
}
