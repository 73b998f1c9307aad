//! The quantile loss.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{Wanted, pointwise_by};

use crate::LossOptions;
use crate::elementwise::{Elementwise, elementwise};

/// The options of [`quantile`].
#[derive(Debug, Clone)]
pub struct QuantileOptions {
    /// The quantile that the input is to become: τ, above 0 and below 1.
    pub quantile: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for QuantileOptions {
    fn default() -> Self {
        Self { quantile: 0.5, loss: LossOptions::default() }
    }
}

/// The quantile loss, or pinball loss: least where the part τ of the targets is below the input.
///
/// # Equation
/// lᵢ = τ (yᵢ − xᵢ) where yᵢ ≥ xᵢ, else (1 − τ) (xᵢ − yᵢ)
///
/// with the input x, the target y and the quantile τ; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in any unit; the value () in that
/// unit, or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`QuantileOptions`]:
/// - `quantile`: 0.5, the median; above 0 and below 1. Several quantiles of one target are as many calls.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// The derivative is −τ below the target, 1 − τ above it, and 0 where they are equal. f64 stays f64; f32, bf16 and
/// f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From scikit-learn: the target is the second argument, its `alpha` is called `quantile`, and 0 and 1, for which
///    every input beyond all targets is as good, are errors.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; a quantile that is not above 0 and below 1;
/// weights and a mask that do not fit, a weight that is negative or not finite; nothing to average, unless `empty`
/// says otherwise.
///
/// # References
/// - Koenker and Bassett 1978, Regression quantiles, Econometrica 46(1), <https://doi.org/10.2307/1913643>.
/// - `sklearn.metrics.mean_pinball_loss`,
///   <https://scikit-learn.org/stable/modules/generated/sklearn.metrics.mean_pinball_loss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{QuantileOptions, quantile};
///
/// // For a high quantile, 4 too little costs three times what 4 too much does.
/// let target = Tensor::new(&[10.0, 10.0], &Device::Cpu)?;
/// let input = Tensor::new(&[6.0, 14.0], &Device::Cpu)?;
/// let options = QuantileOptions { quantile: 0.75, ..Default::default() };
/// let loss = quantile(&input, &target, &options)?;
/// assert_eq!(loss.to_scalar::<f64>()?, (3.0 + 1.0) / 2.0);
/// # Ok(())
/// # }
/// ```
pub fn quantile(input: &Tensor, target: &Tensor, options: &QuantileOptions) -> Result<Tensor> {
    let quantile = options.quantile;
    if !(quantile > 0.0 && quantile < 1.0) {
        return Err(Error::argument(Quantile::NAME, "quantile", "above 0 and below 1", quantile));
    }
    elementwise(Quantile { quantile }, "input", input, target, &options.loss)
}

struct Quantile {
    quantile: f64,
}

impl Elementwise for Quantile {
    const NAME: &'static str = "quantile";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        let quantile = self.quantile;
        Ok(pointwise_by(x, target, wanted, |x, y| {
            let d = x - y;
            let slope = if d > 0.0 {
                1.0 - quantile
            } else if d < 0.0 {
                -quantile
            } else {
                // 0 or NaN.
                d
            };
            (slope * d, slope)
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let d = (x - target)?;
        // |d| / 2 + (1/2 − τ) d, of which the derivative at 0 is not that of either side.
        let slope = d.detach().sign()?.affine(0.5, 0.5 - self.quantile)?;
        let slope = d.eq(0.0)?.where_cond(&d.zeros_like()?, &slope)?;
        Ok((d * slope)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree;

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), quantile in 0.01..0.99) {
            twins_agree(&random, || Quantile { quantile });
        }
    }

    #[test]
    fn hand_numbers_of_both_sides() -> Result<()> {
        let input = Tensor::new(&[-2.0, 0.0, 4.0], &Device::Cpu)?;
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = QuantileOptions { quantile: 0.25, loss };
        let losses = quantile(&input, &input.zeros_like()?, &options)?;
        assert_eq!(losses.to_vec1::<f64>()?, [0.5, 0.0, 3.0]);
        Ok(())
    }
}
