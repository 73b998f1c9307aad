//! The maximum mean discrepancy of two sets of samples.

use candle_core::{D, DType, Device, Tensor};
use taper_core::{Error, Result};

use crate::arguments::{precision, to_host};
use crate::embeddings::rows;

const NAME: &str = "mmd";

/// How the expectations over pairs are estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MmdEstimator {
    /// Over all pairs, also a sample with itself: never below 0, and 0 only for equal sets, but too large on average.
    #[default]
    Biased,
    /// Without the pairs of a sample with itself: right on average, so for equal distributions as often below 0 as
    /// above.
    Unbiased,
}

/// The width of the Gaussian kernel.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum MmdBandwidth {
    /// The median distance between two different rows of both sets together; the mean of the middle two for an even
    /// number of distances. It is a constant to the backward pass.
    #[default]
    Median,
    /// σ, each above 0; the kernel is the mean of those of several.
    Given(Vec<f64>),
}

/// The options of [`mmd`].
///
/// There are no [`LossOptions`](crate::LossOptions): the discrepancy is one number of two sets, whose rows have no
/// losses of their own that could be weighed, masked or left unreduced.
#[derive(Debug, Clone, Default)]
pub struct MmdOptions {
    /// How the expectations are estimated.
    pub estimator: MmdEstimator,
    /// The width of the kernel.
    pub bandwidth: MmdBandwidth,
}

/// The squared maximum mean discrepancy: how far apart the distributions of two sets of samples are, by the means of
/// their features in a Gaussian kernel's space.
///
/// # Equation
/// L = E k(x, x′) + E k(y, y′) − 2 E k(x, y), k(a, b) = 1 / B Σ_b exp(− ‖a − b‖² / (2 σ_b²))
///
/// for the rows x of the first set and y of the second, and the B bandwidths σ_b. The expectations are means over all
/// pairs of rows, for [`MmdEstimator::Unbiased`] without those of a row with itself: over N (N − 1) and M (M − 1).
///
/// # Shapes
/// First (N, D) and second (M, D), in any unit; the value (). It is the square of the paper's discrepancy.
///
/// # Parameters
/// Of [`MmdOptions`]:
/// - `estimator`: [`MmdEstimator::Biased`].
/// - `bandwidth`: [`MmdBandwidth::Median`]; given ones are in the rows' unit, above 0 and finite, at least one of
///   them.
///
/// No [`LossOptions`](crate::LossOptions): the loss is one number of two sets; leave rows out of them instead.
///
/// # Numerics
/// Both sets have a gradient; detach one that is a target. Distances are those of the rows around their common mean,
/// by ‖a‖² + ‖b‖² − 2 a · b and not below 0: differences below 1e-3 of the spread of the rows are lost in f32. Work
/// and memory go with (N + M)². f64 stays f64; f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the paper: the biased estimate is of the square, too; there it is of the discrepancy itself.
/// 2. From other code, in which the median is of squared distances, of a part of the rows, or over √2: see
///    [`MmdBandwidth::Median`].
/// 3. From deep adaptation networks, which learn the weights of several kernels: their mean, so that the value stays
///    at most 2.
///
/// # Errors
/// Sets that are not (N, D) and (M, D) or of different dtypes or not floating-point; fewer than one row, of the
/// unbiased estimator two, in either; no bandwidth, or one that is not above 0 and finite; a median distance of 0 or
/// that is not finite.
///
/// # References
/// - Gretton et al. 2012, A kernel two-sample test, JMLR 13, <https://jmlr.org/papers/v13/gretton12a.html>.
/// - Li, Swersky and Zemel 2015, Generative moment matching networks, <https://arxiv.org/abs/1502.02761>.
/// - `sklearn.metrics.pairwise.rbf_kernel`, whose gamma is 1 / (2 σ²),
///   <https://scikit-learn.org/stable/modules/generated/sklearn.metrics.pairwise.rbf_kernel.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{MmdBandwidth, MmdOptions, mmd};
///
/// // Two points, 2 apart.
/// let first = Tensor::new(&[[0.0]], &Device::Cpu)?;
/// let second = Tensor::new(&[[2.0]], &Device::Cpu)?;
/// let bandwidth = MmdBandwidth::Given(vec![1.0]);
/// let loss = mmd(&first, &second, &MmdOptions { bandwidth, ..Default::default() })?;
/// let by_hand = 1.0 + 1.0 - 2.0 * (-(2.0f64.powi(2)) / 2.0).exp();
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn mmd(first: &Tensor, second: &Tensor, options: &MmdOptions) -> Result<Tensor> {
    let unbiased = options.estimator == MmdEstimator::Unbiased;
    let (first, second) = sets(first, second, 1 + usize::from(unbiased))?;
    let squares = squares(&Tensor::cat(&[&first, &second], 0)?)?;
    let bandwidths = match &options.bandwidth {
        MmdBandwidth::Given(bandwidths) => checked(bandwidths)?.to_vec(),
        MmdBandwidth::Median => vec![median(&squares)?],
    };
    let mut kernels = squares.zeros_like()?;
    for bandwidth in bandwidths.iter().copied() {
        // By two divisions, of which neither overflows before the other.
        kernels = (kernels + ((&squares / bandwidth)? / (-2.0 * bandwidth))?.exp()?)?;
    }
    let weights = weights(first.dim(0)?, second.dim(0)?, unbiased, &kernels)?;
    Ok(((kernels * weights)?.sum_all()? / bandwidths.len() as f64)?)
}

/// Both sets in the dtype of the computation, if they have so many rows at least.
fn sets(first: &Tensor, second: &Tensor, least: usize) -> Result<(Tensor, Tensor)> {
    let dtype = precision(NAME, "first", first)?;
    precision(NAME, "second", second)?;
    if first.dtype() != second.dtype() {
        let expected = format!("{:?}, as first", first.dtype());
        let received = format!("{:?}", second.dtype());
        return Err(Error::argument(NAME, "second", expected, received));
    }
    let (x, y) = (rows(NAME, "first", first)?, rows(NAME, "second", second)?);
    let columns = x.dim(1)?;
    if y.dim(1)? != columns {
        let expected = format!("of shape (M, {columns}), as first");
        return Err(Error::argument(NAME, "second", expected, format!("{:?}", y.dims())));
    }
    for (name, set) in [("first", &x), ("second", &y)] {
        if set.dim(0)? < least {
            let expected = match least {
                1 => "of at least one row",
                _ => "of at least two rows",
            };
            return Err(Error::argument(NAME, name, expected, format!("{:?}", set.dims())));
        }
    }
    Ok((x.to_dtype(dtype)?, y.to_dtype(dtype)?))
}

/// The squared distances of all rows, 0 of a row from itself.
fn squares(x: &Tensor) -> Result<Tensor> {
    // Distances do not change with what is taken off all rows, nor do their gradients.
    let x = x.broadcast_sub(&x.detach().mean_keepdim(0)?)?;
    let norms = x.sqr()?.sum_keepdim(D::Minus1)?;
    let products = (x.matmul(&x.t()?)? * 2.0)?;
    let squares = norms.broadcast_add(&norms.t()?)?.sub(&products)?;
    let own = Tensor::eye(x.dim(0)?, DType::U8, &Device::Cpu)?.to_device(x.device())?;
    let none = squares.zeros_like()?;
    let squares = own.where_cond(&none, &squares)?;
    Ok(squares.lt(0.0)?.where_cond(&none, &squares)?)
}

/// The median distance of different rows.
fn median(squares: &Tensor) -> Result<f64> {
    let (count, squares) = (squares.dim(0)?, to_host(&squares.detach())?);
    let pairs = squares.iter().enumerate().filter(|(at, _)| at % count > at / count);
    let mut distances: Vec<f64> = pairs.map(|(_, square)| square.sqrt()).collect();
    distances.sort_by(f64::total_cmp);
    let (low, high) = (distances.len().saturating_sub(1) / 2, distances.len() / 2);
    let median = match (distances.get(low), distances.get(high)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => 0.0,
    };
    if median > 0.0 && median.is_finite() {
        return Ok(median);
    }
    let expected = "of a median distance above 0 and finite (or give a bandwidth)";
    Err(Error::argument(NAME, "first and second", expected, median))
}

fn checked(bandwidths: &[f64]) -> Result<&[f64]> {
    if bandwidths.is_empty() {
        return Err(Error::argument(NAME, "bandwidth", "at least one", "none"));
    }
    match bandwidths.iter().find(|bandwidth| !(**bandwidth > 0.0 && bandwidth.is_finite())) {
        None => Ok(bandwidths),
        Some(wrong) => Err(Error::argument(NAME, "bandwidth", "above 0 and finite", wrong)),
    }
}

/// What the kernel of each pair of rows counts, those of the first set before those of the second.
fn weights(n: usize, m: usize, unbiased: bool, like: &Tensor) -> Result<Tensor> {
    let without = usize::from(unbiased);
    let of_pair = |a: usize, b: usize| match (a < n, b < n) {
        _ if unbiased && a == b => 0.0,
        (true, true) => 1.0 / (n * (n - without)) as f64,
        (false, false) => 1.0 / (m * (m - without)) as f64,
        _ => -1.0 / (n * m) as f64,
    };
    let all = n + m;
    let weights: Vec<f64> = (0..all * all).map(|at| of_pair(at / all, at % all)).collect();
    let weights = Tensor::from_vec(weights, (all, all), &Device::Cpu)?;
    Ok(weights.to_dtype(like.dtype())?.to_device(like.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers_of_both_estimators() -> Result<()> {
        // 0 and 1 against 3 and 5, with σ² = 1/2.
        let first = Tensor::new(&[[0.0], [1.0]], &Device::Cpu)?;
        let second = Tensor::new(&[[3.0], [5.0]], &Device::Cpu)?;
        let e = |d: f64| (-d * d).exp();
        let between = (e(3.0) + e(5.0) + e(2.0) + e(4.0)) / 4.0;
        for (estimator, expected) in [
            (MmdEstimator::Biased, (1.0 + e(1.0)) / 2.0 + (1.0 + e(2.0)) / 2.0 - 2.0 * between),
            (MmdEstimator::Unbiased, e(1.0) + e(2.0) - 2.0 * between),
        ] {
            let bandwidth = MmdBandwidth::Given(vec![0.5f64.sqrt()]);
            let value = mmd(&first, &second, &MmdOptions { estimator, bandwidth })?;
            let value = value.to_scalar::<f64>()?;
            assert!((value - expected).abs() < 1e-14, "{value} is not {expected}");
        }
        Ok(())
    }

    #[test]
    fn the_median_is_that_of_different_rows() -> Result<()> {
        // Distances 1, 3, 7, 2, 6 and 4.
        let rows = Tensor::new(&[[0.0], [1.0], [3.0], [7.0]], &Device::Cpu)?;
        assert!((median(&squares(&rows)?)? - 3.5).abs() < 1e-14);
        // Distances 1, 3 and 2.
        assert!((median(&squares(&rows.narrow(0, 0, 3)?)?)? - 2.0).abs() < 1e-14);
        Ok(())
    }
}
