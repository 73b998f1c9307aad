//! The angles between two subspaces.

use nalgebra::{DMatrix, QR};

use crate::{Error, Matrix, Result};

/// The principal angles between the subspaces spanned by the rows of `a` and the rows of `b`, the
/// smallest first.
///
/// # Equation
/// cos θᵢ = σᵢ(Qₐᵀ Q_b), σ₁ ≥ σ₂ ≥ …, where the columns of Qₐ and Q_b are orthonormal bases of the two
/// subspaces. θ₁ is the smallest angle between any two of their vectors, θ₂ the smallest between vectors
/// orthogonal to those two, and so on.
///
/// # Shapes
/// `a` (p, d) and `b` (q, d), a basis vector a row, in any unit; min(p, q) angles in radians, from 0 to π/2.
///
/// # Parameters
/// None.
///
/// # Numerics
/// f64, one thread. The arc cosine cannot tell angles below 1e-8 from 0: angles below π/4 are arc sines of
/// the singular values of what one basis leaves of the other (Knyazev & Argentati), so that the error is
/// about 1e-15 at any angle. Bases by QR, singular values by one-sided Jacobi rotations.
///
/// # Deviations
/// 1. From `scipy.linalg.subspace_angles`: a basis vector is a row, as in [`Pca`](crate::Pca); the smallest
///    angle comes first, as in Björck & Golub; dependent vectors are an error instead of a smaller
///    subspace.
///
/// # Errors
/// Matrices of different widths; linearly dependent rows: one of which the rows before it leave no more
/// than rounding error, d 2⁻⁵² of its length.
///
/// # References
/// - Å. Björck and G. H. Golub, "Numerical methods for computing angles between linear subspaces",
///   Mathematics of Computation 27(123), 1973. <https://doi.org/10.1090/S0025-5718-1973-0348991-3>.
/// - A. V. Knyazev and M. E. Argentati, "Principal angles between subspaces in an A-based scalar product",
///   SIAM Journal on Scientific Computing 23(6), 2002. <https://doi.org/10.1137/S1064827500377332>.
///
/// # Example
/// ```
/// # fn main() -> taper_classical::Result<()> {
/// use taper_classical::{Matrix, principal_angles};
///
/// // The floor, and a plane that shares one axis with it and rises by 3 in 4 along the other.
/// let floor = Matrix::new(2, 3, vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0])?;
/// let slope = Matrix::new(2, 3, vec![1.0, 0.0, 0.0, 0.0, 4.0, 3.0])?;
/// let angles = principal_angles(&floor, &slope)?;
/// assert!(angles[0].abs() < 1e-12);
/// assert!((angles[1] - 0.75f64.atan()).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn principal_angles(a: &Matrix, b: &Matrix) -> Result<Vec<f64>> {
    const OPERATION: &str = "principal_angles";
    let (q_a, q_b) = bases(OPERATION, a, b)?;
    let (small, large) = match q_a.ncols() <= q_b.ncols() {
        true => (q_a, q_b),
        false => (q_b, q_a),
    };
    let products = large.transpose() * &small;
    let rest = &small - large * &products;
    let cosines = singular_values(OPERATION, products)?;
    let sines = singular_values(OPERATION, rest)?;
    // Cosines come in descending order, so the sines of the same angles are in ascending order.
    let angle = |(cosine, sine): (&f64, &f64)| match cosine * cosine < 0.5 {
        true => cosine.clamp(0.0, 1.0).acos(),
        false => sine.clamp(0.0, 1.0).asin(),
    };
    Ok(cosines.iter().zip(sines.iter().rev()).map(angle).collect())
}

/// How far two subspaces agree: the mean squared cosine of their [`principal_angles`], 1 where the smaller
/// lies in the larger and 0 where they are orthogonal.
///
/// It is ‖Qₐᵀ Q_b‖² / min(p, q) in the Frobenius norm; shapes and errors are those of
/// [`principal_angles`].
///
/// ```
/// # fn main() -> taper_classical::Result<()> {
/// use taper_classical::{Matrix, subspace_agreement};
///
/// let floor = Matrix::new(2, 3, vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0])?;
/// let slope = Matrix::new(2, 3, vec![1.0, 0.0, 0.0, 0.0, 4.0, 3.0])?;
/// // Squared cosines 1 and (4/5)².
/// assert!((subspace_agreement(&floor, &slope)? - 0.82).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn subspace_agreement(a: &Matrix, b: &Matrix) -> Result<f64> {
    let (q_a, q_b) = bases("subspace_agreement", a, b)?;
    let smaller = q_a.ncols().min(q_b.ncols());
    Ok((q_a.transpose() * q_b).norm_squared() / smaller as f64)
}

/// Orthonormal bases of the two spans, a vector a column.
fn bases(operation: &'static str, a: &Matrix, b: &Matrix) -> Result<(DMatrix<f64>, DMatrix<f64>)> {
    if a.columns() != b.columns() {
        let expected = format!("{} columns wide, as a", a.columns());
        return Err(Error::argument(operation, "b", expected, b.columns()));
    }
    Ok((orthonormal(operation, "a", a)?, orthonormal(operation, "b", b)?))
}

fn orthonormal(
    operation: &'static str,
    argument: &'static str,
    basis: &Matrix,
) -> Result<DMatrix<f64>> {
    let (k, d) = (basis.rows(), basis.columns());
    let dependent = |received: String| {
        let expected = "linearly independent rows";
        Err(Error::argument(operation, argument, expected, received))
    };
    if k > d {
        return dependent(format!("{k} rows of {d}"));
    }
    let mut columns = basis.transposed().into_owned();
    // Lengths do not matter, and squares of them must not overflow.
    for mut column in columns.column_iter_mut() {
        let largest = column.amax();
        if largest > 0.0 {
            column /= largest;
        }
    }
    let qr = QR::new(columns.clone());
    let r = qr.r();
    for (i, column) in columns.column_iter().enumerate() {
        // What the rows before leave of this one.
        if r[(i, i)].abs() <= d as f64 * f64::EPSILON * column.norm() {
            return dependent(format!("row {i} in the span of those before it"));
        }
    }
    Ok(qr.q())
}

/// The singular values, none above 1, in descending order, by one-sided Jacobi rotations: columns are
/// rotated in pairs until all are orthogonal, and their lengths are the singular values.
///
/// nalgebra's own decomposition is not used: version 0.35 loses most digits for some matrices with
/// singular values near 0 (<https://github.com/dimforge/nalgebra/issues/1172>), which small sines are.
fn singular_values(operation: &'static str, mut matrix: DMatrix<f64>) -> Result<Vec<f64>> {
    // It takes 5 to 10 sweeps over all pairs.
    const SWEEPS: usize = 60;
    let columns = matrix.ncols();
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for j in 1..columns {
            for i in 0..j {
                rotated |= make_orthogonal(&mut matrix, i, j);
            }
        }
        if !rotated {
            let mut values: Vec<f64> = matrix.column_iter().map(|column| column.norm()).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            return Ok(values);
        }
    }
    Err(Error::NoConvergence { operation, iterations: SWEEPS })
}

/// Rotates columns `i` and `j` in their plane so that they are orthogonal; false if they were.
fn make_orthogonal(matrix: &mut DMatrix<f64>, i: usize, j: usize) -> bool {
    let (a, b) = (matrix.column(i), matrix.column(j));
    let (aa, bb, ab) = (a.norm_squared(), b.norm_squared(), a.dot(&b));
    // What is left moves a singular value by rounding error of 1. A bound relative to the columns would
    // never be met where one of them is itself rounding error.
    let rounding = f64::EPSILON * matrix.nrows() as f64;
    if ab.abs() <= rounding * aa.max(bb).sqrt() {
        return false;
    }
    // Of the two rotations that do it, the smaller one, for which the sweeps converge.
    let zeta = (bb - aa) / (2.0 * ab);
    let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
    let cosine = tangent.hypot(1.0).recip();
    let sine = cosine * tangent;
    for row in 0..matrix.nrows() {
        let (x, y) = (matrix[(row, i)], matrix[(row, j)]);
        matrix[(row, i)] = cosine * x - sine * y;
        matrix[(row, j)] = sine * x + cosine * y;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singular_values_of_hand_numbers() {
        // The product with its transpose has eigenvalues 0.45 and 0.05.
        let matrix = DMatrix::from_row_slice(2, 2, &[0.3, 0.0, 0.4, 0.5]);
        let values = singular_values("test", matrix).unwrap();
        assert!((values[0] - 0.45f64.sqrt()).abs() < 1e-15);
        assert!((values[1] - 0.05f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn small_singular_values_keep_their_digits() {
        // A rotation by 30 degrees between rows of lengths 1 and 1e-12.
        let (sine, cosine) = std::f64::consts::FRAC_PI_6.sin_cos();
        let matrix = DMatrix::from_row_slice(2, 2, &[cosine, sine, -sine * 1e-12, cosine * 1e-12]);
        let values = singular_values("test", matrix).unwrap();
        assert!((values[0] - 1.0).abs() < 1e-15);
        assert!((values[1] - 1e-12).abs() < 1e-15);
        assert_eq!(singular_values("test", DMatrix::zeros(3, 2)).unwrap(), [0.0, 0.0]);
    }
}
