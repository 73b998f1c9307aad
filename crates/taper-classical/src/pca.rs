//! Principal component analysis.

use nalgebra::{DMatrix, DVector, QR, SymmetricEigen};

use crate::{Error, Matrix, Result};

/// How [`Pca::fit`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PcaConfig {
    /// How many components to keep; `None` keeps all, min(n, d).
    pub n_components: Option<usize>,
    /// Whether [`Pca::transform`] divides each component by its standard deviation.
    pub whiten: bool,
}

/// Principal component analysis: the k directions along which centred data varies most.
///
/// # Equation
/// C = Σᵢ (xᵢ − μ)(xᵢ − μ)ᵀ / (n − 1) = V diag(λ) Vᵀ, λ₁ ≥ λ₂ ≥ …; W is the first k columns of V,
/// transposed. The code of x is z = W (x − μ), its reconstruction x̂ = Wᵀ z + μ.
///
/// # Shapes
/// Data (n, d), one sample a row, to codes (n, k) and back; [`components`](Pca::components) W (k, d), one
/// a row; [`mean`](Pca::mean) μ (d), in the data's unit; [`explained_variance`](Pca::explained_variance)
/// λ (k), in its square.
///
/// # Parameters
/// Of [`PcaConfig`]:
/// - `n_components`: all, min(n, d); from 1 to that.
/// - `whiten`: false. If true, codes are divided by √λ (by 2⁻⁵² where it is smaller), so that those of
///   the training data have variance 1, and [`inverse_transform`](Pca::inverse_transform) multiplies by it.
///
/// # Numerics
/// f64, one thread, the same bits for the same data. The eigenvectors of C where n ≥ d; where n < d those
/// of the n×n matrix of products between samples, mapped to features and made orthonormal by a QR
/// decomposition: the smaller of the two matrices is decomposed. A λ below about 2⁻⁵² λ₁ is rounding error
/// (0 where it would be negative). Variances that overflow are an error; data that varies by less than about
/// 1e-154 counts as constant. Each component's entry of the largest magnitude, the first of them on a tie,
/// is positive. Components of equal λ, 0 included, are some orthonormal basis of their space.
///
/// # Deviations
/// 1. From scikit-learn 1.9: the explained variance ratio of constant data is 0 instead of NaN.
/// 2. From scikit-learn 1.9: always exact; there is no randomized solver, no choice of k by a share of the
///    variance, no noise variance.
///
/// # Errors
/// [`fit`](Pca::fit): fewer than 2 samples; k outside 1..=min(n, d); variances that overflow. The others:
/// a matrix of another width; results that overflow. [`Matrix::new`] refuses NaN and infinity.
///
/// # References
/// - K. Pearson, "On lines and planes of closest fit to systems of points in space", Philosophical
///   Magazine 2(11), 1901. <https://doi.org/10.1080/14786440109462720>.
/// - H. Hotelling, "Analysis of a complex of statistical variables into principal components", Journal of
///   Educational Psychology 24, 1933. <https://doi.org/10.1037/h0071325>.
/// - `sklearn.decomposition.PCA`,
///   <https://scikit-learn.org/stable/modules/generated/sklearn.decomposition.PCA.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_classical::Result<()> {
/// use taper_classical::{Matrix, Pca, PcaConfig};
///
/// // Along (3, 4), by -2, 0 and 2 around (1, 1).
/// let data = Matrix::new(3, 2, vec![-0.2, -0.6, 1.0, 1.0, 2.2, 2.6])?;
/// let pca = Pca::fit(&data, PcaConfig { n_components: Some(1), ..Default::default() })?;
/// let near = |values: &[f64], expected: &[f64]| {
///     values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
/// };
/// assert!(near(pca.components().values(), &[0.6, 0.8]));
/// assert!(near(pca.explained_variance(), &[4.0]));
/// assert!(near(pca.transform(&data)?.values(), &[-2.0, 0.0, 2.0]));
///
/// // (1.8, 0.4) lies 1 away from the line, beside the mean.
/// let beside = Matrix::new(1, 2, vec![1.8, 0.4])?;
/// assert!(near(&[pca.reconstruction_error(&beside)?], &[1.0]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    mean: DVector<f64>,
    components: Matrix,
    explained_variance: Vec<f64>,
    explained_variance_ratio: Vec<f64>,
    whiten: bool,
}

/// Eigenvectors as columns and their eigenvalues, the largest first.
struct Spectrum {
    vectors: DMatrix<f64>,
    values: Vec<f64>,
}

impl Pca {
    /// Finds the components of `data`.
    pub fn fit(data: &Matrix, config: PcaConfig) -> Result<Self> {
        const OPERATION: &str = "Pca::fit";
        let (n, d) = (data.rows(), data.columns());
        if n < 2 {
            let expected = "at least 2 rows, since one has no variance";
            return Err(Error::argument(OPERATION, "data", expected, n));
        }
        let most = n.min(d);
        let k = config.n_components.unwrap_or(most);
        if !(1..=most).contains(&k) {
            let expected = format!("from 1 to {most}, the smaller of {n} rows and {d} columns");
            return Err(Error::argument(OPERATION, "n_components", expected, k));
        }
        let mean = mean(data);
        let Spectrum { vectors, values } = match n >= d {
            true => of_covariance(data, &mean)?,
            false => of_products(data, &mean)?,
        };
        let total: f64 = values.iter().sum();
        check_variances(&[total])?;
        let share = |variance: &f64| if total > 0.0 { variance / total } else { 0.0 };
        let explained_variance = values[..k].to_vec();
        let explained_variance_ratio = explained_variance.iter().map(share).collect();
        let mut components = Vec::with_capacity(k * d);
        for vector in vectors.column_iter().take(k) {
            let sign = vector[vector.icamax()].signum();
            components.extend(vector.iter().map(|value| sign * value));
        }
        Ok(Self {
            mean,
            components: Matrix::new(k, d, components)?,
            explained_variance,
            explained_variance_ratio,
            whiten: config.whiten,
        })
    }

    /// The mean of each feature.
    pub fn mean(&self) -> &[f64] {
        self.mean.as_slice()
    }

    /// The components, one a row, orthonormal, that of the largest variance first.
    pub fn components(&self) -> &Matrix {
        &self.components
    }

    /// The variance of the training data along each component, with n − 1 degrees of freedom.
    pub fn explained_variance(&self) -> &[f64] {
        &self.explained_variance
    }

    /// The share of each component in the variance of the training data over all its features.
    pub fn explained_variance_ratio(&self) -> &[f64] {
        &self.explained_variance_ratio
    }

    /// The codes of the rows of `data`.
    pub fn transform(&self, data: &Matrix) -> Result<Matrix> {
        const OPERATION: &str = "Pca::transform";
        check_width(OPERATION, "data", data, self.mean.len())?;
        let w = self.components.transposed().transpose();
        let scale = self.scale().map(f64::recip);
        let mut codes = Vec::with_capacity(data.rows() * w.nrows());
        for mut block in data.blocks() {
            subtract(&mut block, &self.mean);
            let mut z = &w * block;
            scale_rows(&mut z, &scale);
            codes.extend_from_slice(z.as_slice());
        }
        computed(OPERATION, "data", data.rows(), w.nrows(), codes)
    }

    /// The data that has these `codes`.
    pub fn inverse_transform(&self, codes: &Matrix) -> Result<Matrix> {
        const OPERATION: &str = "Pca::inverse_transform";
        check_width(OPERATION, "codes", codes, self.components.rows())?;
        let scale = self.scale();
        let mut data = Vec::with_capacity(codes.rows() * self.mean.len());
        for mut z in codes.blocks() {
            scale_rows(&mut z, &scale);
            let mut block = self.components.transposed() * z;
            block.column_iter_mut().for_each(|mut x| x += &self.mean);
            data.extend_from_slice(block.as_slice());
        }
        computed(OPERATION, "codes", codes.rows(), self.mean.len(), data)
    }

    /// The squared distance of a row of `data` to its reconstruction, summed over the features and
    /// averaged over the rows.
    pub fn reconstruction_error(&self, data: &Matrix) -> Result<f64> {
        const OPERATION: &str = "Pca::reconstruction_error";
        check_width(OPERATION, "data", data, self.mean.len())?;
        let w_t = self.components.transposed();
        let w = w_t.transpose();
        let mut sum = 0.0;
        for mut block in data.blocks() {
            subtract(&mut block, &self.mean);
            let z = &w * &block;
            // block - Wᵀ z, in place.
            block.gemm(-1.0, &w_t, &z, 1.0);
            sum += block.norm_squared();
        }
        let error = computed(OPERATION, "data", 1, 1, vec![sum / data.rows() as f64])?;
        Ok(error.values()[0])
    }

    /// What a code is multiplied with on the way back.
    fn scale(&self) -> DVector<f64> {
        let k = self.components.rows();
        match self.whiten {
            true => DVector::from_iterator(
                k,
                self.explained_variance.iter().map(|variance| variance.sqrt().max(f64::EPSILON)),
            ),
            false => DVector::from_element(k, 1.0),
        }
    }
}

fn check_width(
    operation: &'static str,
    argument: &'static str,
    matrix: &Matrix,
    width: usize,
) -> Result<()> {
    if matrix.columns() == width {
        return Ok(());
    }
    let expected = format!("{width} columns wide");
    Err(Error::argument(operation, argument, expected, matrix.columns()))
}

fn mean(data: &Matrix) -> DVector<f64> {
    let mut sum = DVector::zeros(data.columns());
    for x in data.transposed().column_iter() {
        sum += x;
    }
    sum / data.rows() as f64
}

fn subtract(block: &mut DMatrix<f64>, mean: &DVector<f64>) {
    block.column_iter_mut().for_each(|mut x| x -= mean);
}

fn scale_rows(block: &mut DMatrix<f64>, scale: &DVector<f64>) {
    block.column_iter_mut().for_each(|mut z| z.component_mul_assign(scale));
}

/// The spectrum of the covariance (d, d).
fn of_covariance(data: &Matrix, mean: &DVector<f64>) -> Result<Spectrum> {
    let d = data.columns();
    let mut covariance = DMatrix::zeros(d, d);
    for mut block in data.blocks() {
        subtract(&mut block, mean);
        covariance.gemm(1.0, &block, &block.transpose(), 1.0);
    }
    covariance /= (data.rows() - 1) as f64;
    spectrum(covariance)
}

/// The same by way of the products between samples (n, n): if X Xᵀ u = λ u, then Xᵀ u is an eigenvector
/// of Xᵀ X. nalgebra's singular value decomposition would be shorter, but version 0.35 gives wrong
/// vectors for some matrices that are not of full rank, as centred ones are
/// (<https://github.com/dimforge/nalgebra/issues/1172>).
fn of_products(data: &Matrix, mean: &DVector<f64>) -> Result<Spectrum> {
    let mut centred = data.transposed().into_owned();
    subtract(&mut centred, mean);
    let products = centred.transpose() * &centred / (data.rows() - 1) as f64;
    let Spectrum { vectors, values } = spectrum(products)?;
    // With the largest first, what rounding mixes of them into the small ones is taken out again, and
    // those of eigenvalue 0 become some basis of what is left.
    let vectors = QR::new(centred * vectors).q();
    Ok(Spectrum { vectors, values })
}

fn spectrum(symmetric: DMatrix<f64>) -> Result<Spectrum> {
    check_variances(symmetric.as_slice())?;
    // LAPACK's limit for the same iteration, which takes two or three for an eigenvalue.
    let iterations = 30 * symmetric.nrows();
    let eigen = SymmetricEigen::try_new(symmetric, f64::EPSILON, iterations);
    let eigen = eigen.ok_or(Error::NoConvergence { operation: "Pca::fit", iterations })?;
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    Ok(Spectrum {
        vectors: eigen.eigenvectors.select_columns(&order),
        values: order.iter().map(|i| eigen.eigenvalues[*i].max(0.0)).collect(),
    })
}

fn check_variances(values: &[f64]) -> Result<()> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    let expected = "small enough that its variances do not overflow: scale it";
    Err(Error::argument("Pca::fit", "data", expected, "larger"))
}

/// A result for `argument`.
fn computed(
    operation: &'static str,
    argument: &'static str,
    rows: usize,
    columns: usize,
    values: Vec<f64>,
) -> Result<Matrix> {
    let expected = "small enough that the result does not overflow";
    Matrix::checked(operation, argument, expected, rows, columns, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same() {
        // Square data may go either way.
        let values = vec![2.0, 0.0, 1.0, -1.0, 3.0, 0.5, 0.0, -2.0, 4.0];
        let data = Matrix::new(3, 3, values).unwrap();
        let mean = mean(&data);
        let (a, b) = (of_covariance(&data, &mean).unwrap(), of_products(&data, &mean).unwrap());
        for i in 0..3 {
            assert!((a.values[i] - b.values[i]).abs() < 1e-12);
            let cosine = a.vectors.column(i).dot(&b.vectors.column(i));
            assert!((cosine.abs() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn hand_numbers() {
        // Centred: (-1, 0), (1, 0), (0, -2), (0, 2); variances 2/3 along x and 8/3 along y.
        let values = vec![0.0, 3.0, 2.0, 3.0, 1.0, 1.0, 1.0, 5.0];
        let data = Matrix::new(4, 2, values).unwrap();
        let pca = Pca::fit(&data, PcaConfig::default()).unwrap();
        assert_eq!(pca.mean(), [1.0, 3.0]);
        assert_eq!(pca.components().values(), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(pca.explained_variance(), [8.0 / 3.0, 2.0 / 3.0]);
        assert_eq!(pca.explained_variance_ratio(), [0.8, 0.2]);
        let codes = pca.transform(&data).unwrap();
        assert_eq!(codes.values(), [0.0, -1.0, 0.0, 1.0, -2.0, 0.0, 2.0, 0.0]);
        assert_eq!(pca.inverse_transform(&codes).unwrap(), data);
        let first = PcaConfig { n_components: Some(1), whiten: false };
        // Left out: squares 1, 1, 0, 0.
        let error = Pca::fit(&data, first).unwrap().reconstruction_error(&data);
        assert_eq!(error.unwrap(), 0.5);
    }
}
