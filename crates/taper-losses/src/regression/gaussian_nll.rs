//! The negative log-likelihood of a Gaussian distribution.

use std::f64::consts::TAU;

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::LossOptions;
use crate::arguments::{beside, precision, target_like};
use crate::elements::Elements;

const OPERATION: &str = "gaussian_nll";

/// The options of [`gaussian_nll`].
#[derive(Debug, Clone)]
pub struct GaussianNllOptions {
    /// Whether log(2π) / 2 is added, which has no gradient.
    pub full: bool,
    /// The least variance: ε, above 0.
    pub eps: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for GaussianNllOptions {
    fn default() -> Self {
        Self { full: false, eps: 1e-6, loss: LossOptions::default() }
    }
}

/// The negative log-likelihood under a Gaussian distribution of which mean and variance are learned.
///
/// # Equation
/// lᵢ = (log vᵢ + (xᵢ − yᵢ)² / vᵢ) / 2, with vᵢ = max(varᵢ, ε)
///
/// for the input x, the mean, the target y and the variance var; with `full` plus log(2π) / 2; reduced as
/// [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input, target and var (...), of the same shape with any number of axes; input and target in one unit, var in its
/// square; the value (), in nats but for the logarithm of the unit, or (...) with
/// [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`GaussianNllOptions`]:
/// - `full`: false. It is needed to compare with other distributions, not to train.
/// - `eps`: 1e-6, in the unit of var; above 0 and finite.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// Input and var have gradients. That of var is taken at v and reaches var below ε, too, so that a variance that is too
/// small can grow again. A residual above 1e19 overflows in f32. f64 stays f64; f32, bf16 and f16 are computed and
/// returned in f32.
///
/// # Deviations
/// 1. From PyTorch: var has the shape of the input; there it may lack the last axis, have 1 there, or be one number. For
///    those use `broadcast_as`.
/// 2. From PyTorch: a var that is NaN is an error, as a negative one is there, too.
/// 3. From PyTorch: another shape of the target is an error, not a broadcast, and there are weights and a mask.
/// 4. From PyTorch: the value of half-precision input is f32, and the target has no gradient.
///
/// # Errors
/// A var that is not at least 0; input, target and var of different shapes or dtypes or not floating-point; an ε that is
/// not above 0 and finite; weights and a mask that do not fit, a weight that is negative or not finite; nothing to
/// average, unless `empty` says otherwise.
///
/// # References
/// - Nix and Weigend 1994, Estimating the mean and variance of the target probability distribution, Proceedings of the
///   IEEE International Conference on Neural Networks, <https://doi.org/10.1109/ICNN.1994.374138>.
/// - `torch.nn.GaussianNLLLoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.GaussianNLLLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{GaussianNllOptions, gaussian_nll};
///
/// // Off by 2 twice; who owned to a variance of 4 pays less.
/// let input = Tensor::new(&[2.0, 2.0], &Device::Cpu)?;
/// let var = Tensor::new(&[1.0, 4.0], &Device::Cpu)?;
/// let options = GaussianNllOptions::default();
/// let loss = gaussian_nll(&input, &input.zeros_like()?, &var, &options)?;
/// let by_hand = (4.0 / 2.0 + (4f64.ln() + 1.0) / 2.0) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
pub fn gaussian_nll(
    input: &Tensor,
    target: &Tensor,
    var: &Tensor,
    options: &GaussianNllOptions,
) -> Result<Tensor> {
    let GaussianNllOptions { full, eps, loss } = options;
    if !(*eps > 0.0 && eps.is_finite()) {
        return Err(Error::argument(OPERATION, "eps", "above 0 and finite", eps));
    }
    let dtype = precision(OPERATION, "input", input)?;
    let target = target_like(OPERATION, target, "input", input)?;
    let var = beside(OPERATION, "var", var, "input", input)?;
    let elements = Elements::new(OPERATION, "input", input.shape(), loss)?;
    elements.expect("var", &var, "at least 0", |var| var >= 0.0)?;
    let d = (elements.hide(&input.to_dtype(dtype)?)? - elements.hide(&target)?)?;
    let var = at_least(&elements.hide(&var)?, *eps)?;
    let mut losses = ((var.log()? + (d.sqr()? / &var)?)? * 0.5)?;
    if *full {
        losses = (losses + 0.5 * TAU.ln())?;
    }
    elements.reduce_losses(losses, None)
}

/// `x`, or the limit where that is more, with the derivative 1 in both parts.
fn at_least(x: &Tensor, limit: f64) -> Result<Tensor> {
    let limited = ((x - x.detach())? + limit)?;
    Ok(x.ge(limit)?.where_cond(x, &limited)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::Reduction;

    #[test]
    fn a_variance_below_the_least_counts_as_it_and_can_grow() -> Result<()> {
        let input = Tensor::new(&[1.0, 1.0], &Device::Cpu)?;
        let var = Var::new(&[0.0, 0.5], &Device::Cpu)?;
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = GaussianNllOptions { eps: 0.5, full: true, loss };
        let losses = gaussian_nll(&input, &input.zeros_like()?, &var, &options)?;
        let by_hand = (0.5f64.ln() + 2.0) / 2.0 + TAU.ln() / 2.0;
        assert_eq!(losses.to_vec1::<f64>()?, [by_hand; 2]);
        // (1 / v − d² / v²) / 2.
        let gradient = losses.sum_all()?.backward()?.remove(&var).unwrap();
        assert_eq!(gradient.to_vec1::<f64>()?, [-1.0, -1.0]);
        Ok(())
    }
}
