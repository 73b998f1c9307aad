//! The cross-correlation of two views against the identity.

use candle_core::{DType, Device, Tensor};
use taper_core::{Error, Result};

use crate::embeddings::{several, views};

const NAME: &str = "barlow_twins";

/// The options of [`barlow_twins`].
///
/// There are no [`LossOptions`](crate::LossOptions): a correlation is of a batch, so that it has no losses of rows that
/// could be weighed, masked or left unreduced. Rows that do not count are to be left out of the views.
#[derive(Debug, Clone)]
pub struct BarlowTwinsOptions {
    /// The weight of the correlations of different dimensions: λ, at least 0.
    pub lambda: f64,
    /// What is added to a variance before its root is taken: ε, above 0.
    pub eps: f64,
}

impl Default for BarlowTwinsOptions {
    fn default() -> Self {
        Self { lambda: 5e-3, eps: 1e-5 }
    }
}

/// Barlow Twins: each dimension of one view should correlate with itself in the other view, and with no other.
///
/// # Equation
/// L = Σ_d (1 − C_dd)² + λ Σ_{d ≠ e} C_de², with C = x̂ᵀ ŷ / N and ẑ = (z − mean z) / √(Var z + ε)
///
/// for the first view x and the second y; mean and variance are those of each dimension over the batch, the variance
/// with N.
///
/// # Shapes
/// First and second view (N, D), of the same shape with N at least 2, in any unit; the value ().
///
/// # Parameters
/// Of [`BarlowTwinsOptions`]:
/// - `lambda`: 5e-3, the paper's best; at least 0 and finite.
/// - `eps`: 1e-5, in the square of the unit, as a batch norm has it; above 0 and finite.
///
/// No [`LossOptions`](crate::LossOptions): the loss is one number of a batch. Its rows have no losses of their own, so
/// weights, a mask and a reduction would have no meaning; leave rows out of the views instead.
///
/// # Numerics
/// Both views have a gradient. A dimension that does not vary has the correlation 0 with all, and so the loss 1. f64
/// stays f64; f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the paper's equation: ε, which the authors' code has by its batch norm.
/// 2. From the paper's listing: it divides by a standard deviation with N − 1 and by N, so its correlations end
///    at (N − 1) / N. With N in both, here, in the equation and in the authors' code, they end at 1.
/// 3. From the authors' code: λ is 0.0051 there by default.
///
/// # Errors
/// Views that are not (N, D), have fewer than two rows, or are of different shapes or dtypes or not floating-point; a
/// λ that is negative or not finite, an ε that is not above 0 and finite.
///
/// # References
/// - Zbontar, Jing, Misra, LeCun and Deny 2021, Barlow Twins: self-supervised learning via redundancy reduction,
///   <https://arxiv.org/abs/2103.03230>; their code, <https://github.com/facebookresearch/barlowtwins>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{BarlowTwinsOptions, barlow_twins};
///
/// // Both dimensions are ±1 and the same, so that all four correlations are 1 / (1 + ε).
/// let view = Tensor::new(&[[1.0, 1.0], [-1.0, -1.0]], &Device::Cpu)?;
/// let options = BarlowTwinsOptions { lambda: 0.5, eps: 1e-12 };
/// let loss = barlow_twins(&view, &view, &options)?;
/// assert!((loss.to_scalar::<f64>()? - 0.5 * 2.0).abs() < 1e-11);
/// # Ok(())
/// # }
/// ```
pub fn barlow_twins(
    first: &Tensor,
    second: &Tensor,
    options: &BarlowTwinsOptions,
) -> Result<Tensor> {
    let BarlowTwinsOptions { lambda, eps } = *options;
    if !(lambda >= 0.0 && lambda.is_finite()) {
        return Err(Error::argument(NAME, "lambda", "at least 0 and finite", lambda));
    }
    if !(eps > 0.0 && eps.is_finite()) {
        return Err(Error::argument(NAME, "eps", "above 0 and finite", eps));
    }
    let (first, second) = views(NAME, first, second)?;
    let count = several(NAME, "first", &first)?;
    let (first, second) = (standardised(&first, eps)?, standardised(&second, eps)?);
    let correlation = (first.t()?.matmul(&second)? / count as f64)?;
    let dimension = correlation.dim(0)?;
    let own = Tensor::eye(dimension, DType::U8, &Device::Cpu)?.to_device(correlation.device())?;
    let squares = correlation.sqr()?;
    let same = correlation.affine(-1.0, 1.0)?.sqr()?;
    Ok(own.where_cond(&same, &(squares * lambda)?)?.sum_all()?)
}

/// Each dimension with the mean 0 and the variance 1 over the batch.
fn standardised(view: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = view.broadcast_sub(&view.mean_keepdim(0)?)?;
    let variance = centred.sqr()?.mean_keepdim(0)?;
    Ok(centred.broadcast_div(&(variance + eps)?.sqrt()?)?)
}
