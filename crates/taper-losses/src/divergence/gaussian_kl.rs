//! The Kullback-Leibler divergence of diagonal Gaussians.

use candle_core::{D, Tensor};
use taper_core::{Error, Result};

use crate::LossOptions;
use crate::arguments::{beside, precision};
use crate::elements::Elements;

const NAME: &str = "gaussian_kl";

/// Gaussians whose dimensions, along the last axis, are independent.
#[derive(Debug, Clone, Copy)]
pub struct Gaussian<'a> {
    /// The means.
    pub mean: &'a Tensor,
    /// The natural logarithms of the variances, of the means' shape and dtype.
    pub log_variance: &'a Tensor,
}

/// The Kullback-Leibler divergence of diagonal Gaussians from standard normal ones or from others: the closed form of
/// variational autoencoders.
///
/// # Equation
/// lᵢ = D(qᵢ ‖ pᵢ) = ½ Σ_d (σ² / s² + (μ − m)² / s² − 1 − log σ² + log s²)
///
/// for the Gaussian q of means μ and variances σ², and the prior p of means m and variances s², which are 0 and 1
/// where none is given; each of sample i and dimension d. Reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Means, in any unit, and logarithms of variances, of its square, (..., D), all of the same shape; the value (), in
/// nats, or (...) with [`Reduction::None`](crate::Reduction::None): the sum over the dimensions, the last axis.
/// Latents (N, C, H, W) are to be flattened to (N, C H W).
///
/// # Parameters
/// - `input`: q.
/// - `prior`: p; `None` is the standard normal distribution. One for all samples is to be broadcast to the input's
///   shape.
/// - `options`: [`LossOptions`]; its mean is that over the samples.
///
/// # Numerics
/// All of the means and logarithms have a gradient, also the prior's; detach what is not learned. Variances meet as
/// exp(log σ² − log s²), so that small ones divide nothing. In f32 the loss is finite for log σ² − log s² and − log
/// s² up to 88. Where both are almost the same the terms cancel, and a rounding error below 0 may be left. f64 stays
/// f64; f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the paper: a loss to be minimized; its bound has the negative divergence.
/// 2. From PyTorch: variances are given by their logarithms, as a network gives them, where `Normal` has the standard
///    deviation; its `kl_divergence` is that of each dimension, unless `Independent` sums it.
/// 3. From code that takes the mean over all elements: the dimensions are summed. The mean divides the weight of the
///    divergence by D, against a reconstruction that is summed.
///
/// # Errors
/// Means without an axis, or not floating-point; another tensor that is not of their shape or dtype; weights and a
/// mask that do not fit, a weight that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Kingma and Welling 2014, Auto-encoding variational Bayes, appendix B, <https://arxiv.org/abs/1312.6114>.
/// - `torch.distributions.kl_divergence`, <https://docs.pytorch.org/docs/stable/distributions.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{Gaussian, LossOptions, gaussian_kl};
///
/// // Off by 2 in the first dimension, four times as wide a variance in the second.
/// let mean = Tensor::new(&[[2.0, 0.0]], &Device::Cpu)?;
/// let log_variance = Tensor::new(&[[0.0, 4f64.ln()]], &Device::Cpu)?;
/// let input = Gaussian { mean: &mean, log_variance: &log_variance };
/// let loss = gaussian_kl(input, None, &LossOptions::default())?;
/// let by_hand = (2.0f64.powi(2) + (4.0 - 1.0 - 4f64.ln())) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn gaussian_kl(
    input: Gaussian<'_>,
    prior: Option<Gaussian<'_>>,
    options: &LossOptions,
) -> Result<Tensor> {
    let dtype = precision(NAME, "mean", input.mean)?;
    let like = |name: &str, tensor: &Tensor| beside(NAME, name, tensor, "mean", input.mean);
    let log_variance = like("log_variance", input.log_variance)?;
    let prior = prior
        .map(|prior| {
            let mean = like("prior.mean", prior.mean)?;
            Ok::<_, Error>((mean, like("prior.log_variance", prior.log_variance)?))
        })
        .transpose()?;
    let Some((_, shape)) = input.mean.dims().split_last() else {
        return Err(Error::argument(NAME, "mean", "of at least one axis, the dimensions", "[]"));
    };
    let elements = Elements::new(NAME, "mean", shape, options)?;
    let mut off = elements.hide(&input.mean.to_dtype(dtype)?)?;
    let mut log_ratio = elements.hide(&log_variance)?;
    let mut square = off.sqr()?;
    if let Some((mean, log_variance)) = prior {
        let log_variance = elements.hide(&log_variance)?;
        off = (off - elements.hide(&mean)?)?;
        log_ratio = (log_ratio - &log_variance)?;
        square = (off.sqr()? * log_variance.neg()?.exp()?)?;
    }
    let terms = (((log_ratio.exp()? - 1.0)? - log_ratio)? + square)?;
    elements.reduce_losses((terms.sum(D::Minus1)? / 2.0)?, None)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn hand_numbers_of_another_prior() -> Result<()> {
        let of = |value: f64| Tensor::new(&[value], &Device::Cpu);
        let (mean, log_variance) = (of(3.0)?, of(2f64.ln())?);
        let (prior_mean, prior_log_variance) = (of(1.0)?, of(8f64.ln())?);
        let input = Gaussian { mean: &mean, log_variance: &log_variance };
        let prior = Gaussian { mean: &prior_mean, log_variance: &prior_log_variance };
        let loss = gaussian_kl(input, Some(prior), &LossOptions::default())?.to_scalar::<f64>()?;
        let expected = 0.5 * (2.0 / 8.0 + 4.0 / 8.0 - 1.0 - 2f64.ln() + 8f64.ln());
        assert!((loss - expected).abs() < 1e-15, "{loss} is not {expected}");
        Ok(())
    }
}
